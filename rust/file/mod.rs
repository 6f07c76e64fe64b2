//! The model file: a safetensors container, which any reader of that format opens.
//!
//! | in the file | what it is |
//! |---|---|
//! | `__metadata__.format_version` | [`FORMAT_VERSION`] |
//! | `__metadata__.config` | a JSON text that the Python layer writes and reads |
//! | `__metadata__.counters` | [`Counters`], as JSON |
//! | `encoder.0.weight`, ... | the parameters, float32, named and shaped as [`Network::tensors`], row after row |
//! | `optimizer.first.encoder.0.weight`, ... | the optimiser's first moments, if it uses them |
//! | `optimizer.second.encoder.0.weight`, ... | its second moments; a file has all moments or none |
//!
//! The same model gives the same bytes. Nothing that a file says is believed: keys that come twice or are not known,
//! tensors more, less or of other shapes than the configuration implies, holes in the data, NaN and infinity are
//! refused, and memory for a model is asked for once the file is known to be as long as such a model.

mod header;
mod version_1;

use crate::error::{Error, Result, filled};
use crate::model::{Engine, MAX_WIDTH, Network, Specification, StateBuffer, Tensor};
use crate::nn::optimizer::Optimizer;
use header::Contents;
use safetensors::tensor::{Dtype, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The version of the format that this library writes, and the only one that it reads.
pub const FORMAT_VERSION: &str = "1";

/// The longest header, in bytes; most of it is the configuration, with the history of the training.
const MOST_HEADER: u64 = 64 << 20;

/// The length of the header comes first.
const LENGTH: usize = size_of::<u64>();

/// Bytes read at a time.
const CHUNK: usize = 1 << 15;

/// How far a model has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    /// Optimiser steps taken.
    pub steps: u64,
    /// Shuffled epochs finished.
    pub epochs: u32,
    /// Log variances clamped.
    pub clamped: usize,
    /// Steps of which the optimiser knows nothing.
    pub optimizer_start: u64,
}

impl Counters {
    fn of(vae: &Engine) -> Counters {
        let clamped = vae.clamped.load(Ordering::Relaxed);
        Counters {
            steps: vae.steps,
            epochs: vae.epochs,
            clamped,
            optimizer_start: vae.optimizer_start,
        }
    }

    fn named(self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("steps", self.steps),
            ("epochs", self.epochs.into()),
            ("clamped", self.clamped as u64),
            ("forgotten", self.optimizer_start),
        ])
    }

    /// The inverse of [`Counters::named`], if that is what it is and a model can have come so far.
    fn from_named(named: &BTreeMap<String, u64>) -> Option<Counters> {
        let get = |name: &str| named.get(name).copied();
        let counters = Counters {
            steps: get("steps").filter(|&steps| i64::try_from(steps).is_ok())?,
            epochs: get("epochs").filter(|&n| i32::try_from(n).is_ok())?.try_into().ok()?,
            clamped: get("clamped")?.try_into().ok()?,
            optimizer_start: get("forgotten")?,
        };
        (counters.optimizer_start <= counters.steps && named.len() == 4).then_some(counters)
    }
}

/// Why something is no model file.
fn refused(why: impl Display) -> Error {
    // What a file says may be as long as the file.
    let why: String = why.to_string().chars().take(300).collect();
    Error::Format(format!("no model file that fastvae can read: {why}"))
}

fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => refused("it is cut short"),
        kind => Error::Io(kind, format!("the model file cannot be read: {error}")),
    }
}

/// A tensor in a file: a part of `network.tensors[index]`.
struct FileTensor {
    name: String,
    part: StateBuffer,
    index: usize,
}

/// What the file of such a model holds, in the order in which it is written.
fn entries(network: &Network, optimizer: Optimizer, moments: bool) -> Vec<FileTensor> {
    let [first, second] = optimizer.moments().map(|used| used && moments);
    let mut entries = Vec::new();
    for (wanted, part) in
        [(true, StateBuffer::Value), (first, StateBuffer::First), (second, StateBuffer::Second)]
    {
        let has = |tensor: &Tensor| wanted && (part == StateBuffer::Value || tensor.is_trained());
        for (index, tensor) in network.tensors.iter().enumerate().filter(|(_, t)| has(t)) {
            entries.push(FileTensor {
                name: format!("{}{}", prefix(part), tensor.name),
                part,
                index,
            });
        }
    }
    entries
}

fn prefix(part: StateBuffer) -> &'static str {
    match part {
        StateBuffer::Value => "",
        StateBuffer::First => "optimizer.first.",
        StateBuffer::Second => "optimizer.second.",
    }
}

fn size(tensor: &Tensor) -> usize {
    tensor.shape.iter().product()
}

/// Room for the largest tensor.
fn scratch(network: &Network) -> Result<Vec<f32>> {
    filled(0.0, network.tensors.iter().map(size).max())
}

/// A model as the bytes of a file, with its optimiser's moments if they are wanted.
pub fn to_bytes(vae: &Engine, config: &str, moments: bool) -> Result<Vec<u8>> {
    let network = &vae.network;
    let entries = entries(network, network.spec.optimizer, moments);
    if entries.len() >= header::MOST_KEYS {
        return Err(Error::Parameter(format!(
            "the model, with its optimizer, has {} tensors; a model file has room for {}",
            entries.len(),
            header::MOST_KEYS - 1
        )));
    }
    let (mut infos, mut end) = (Vec::new(), 0);
    for entry in &entries {
        let (start, tensor) = (end, &network.tensors[entry.index]);
        end += size_of::<f32>() * size(tensor);
        let (shape, data_offsets) = (tensor.shape.clone(), (start, end));
        infos.push((entry.name.as_str(), TensorInfo { dtype: Dtype::F32, shape, data_offsets }));
    }
    let mut header = header::to_json(config, Counters::of(vae), &infos)?;
    header.resize(header.len().next_multiple_of(LENGTH), b' '); // the data are aligned
    if header.len() as u64 > MOST_HEADER {
        return Err(Error::Parameter(format!(
            "the configuration of the model, with its history, takes {} MB; a model file has room for {} MB",
            header.len() >> 20,
            MOST_HEADER >> 20
        )));
    }

    let mut bytes = filled(0, (LENGTH + header.len()).checked_add(end))?;
    let (length, rest) = bytes.split_at_mut(LENGTH);
    let (text, mut data) = rest.split_at_mut(header.len());
    length.copy_from_slice(&(header.len() as u64).to_le_bytes());
    text.copy_from_slice(&header);
    let mut scratch = scratch(network)?;
    for FileTensor { part, index, .. } in entries {
        let tensor = &network.tensors[index];
        let plain = &mut scratch[..size(tensor)];
        tensor.read_into(vae.buffer(part), plain);
        let (here, rest) = data.split_at_mut(size_of_val(plain));
        for (to, x) in here.as_chunks_mut().0.iter_mut().zip(plain) {
            *to = x.to_le_bytes();
        }
        data = rest;
    }
    Ok(bytes)
}

/// A model file whose header has been read, and describes the data that follow it.
#[derive(Debug)]
pub struct ModelFile<R> {
    reader: R,
    contents: Contents,
}

impl<R: Read> ModelFile<R> {
    /// Reads the header of a file of `len` bytes.
    pub fn open(mut reader: R, len: u64) -> Result<ModelFile<R>> {
        let Some(room) = len.checked_sub(LENGTH as u64) else {
            return Err(refused(format!("{len} bytes are too few")));
        };
        let mut length = [0; LENGTH];
        reader.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > room.min(MOST_HEADER) {
            return Err(refused(format!("a header of {length} bytes in a file of {len}")));
        }
        let mut text = filled(0, usize::try_from(length).ok())?;
        reader.read_exact(&mut text).map_err(unreadable)?;
        let contents = header::from_json(&text)?;
        match contents.tensors.data_len() as u64 == room - length {
            true => Ok(ModelFile { reader, contents }),
            false => Err(refused(format!(
                "its tensors take {} bytes, but {} follow the header",
                contents.tensors.data_len(),
                room - length
            ))),
        }
    }

    /// The configuration, as it was written.
    pub fn config(&self) -> &str {
        &self.contents.config
    }

    /// The model, if the file holds exactly the tensors of such a one.
    pub fn engine(mut self, spec: Specification) -> Result<Engine> {
        let Counters { steps, epochs, clamped, optimizer_start } = self.contents.counters;
        let names = self.contents.tensors.offset_keys();
        // A layout takes memory too.
        let layers = spec.encoder.len() + spec.decoder.len();
        if layers > names.len() || spec.latent_dim > MAX_WIDTH {
            return Err(refused("its configuration describes a larger network than its tensors"));
        }
        let optimizer = spec.optimizer;
        let network = Network::new(spec).map_err(refused)?;
        let places = self.places(&network, optimizer, &names)?;
        let kept = optimizer.moments() == [false; 2]
            || places.iter().any(|(part, _)| *part != StateBuffer::Value);

        let mut vae = Engine::empty(network)?;
        let mut scratch = scratch(&vae.network)?;
        for (name, (part, index)) in names.iter().zip(places) {
            let (network, buffer) = vae.buffer_mut(part);
            let tensor = &network.tensors[index];
            let plain = &mut scratch[..size(tensor)];
            self.read(plain)?;
            let good = |x: &f32| tensor.allows(*x) && (part != StateBuffer::Second || *x >= 0.0);
            if let Some(bad) = plain.iter().find(|x| !good(x)) {
                return Err(refused(format!("{name} contains {bad}")));
            }
            tensor.write(plain, buffer);
        }
        vae.network.check(vae.buffer(StateBuffer::Value)).map_err(refused)?;
        vae.refresh()?;
        (vae.steps, vae.epochs, vae.clamped) = (steps, epochs, AtomicUsize::new(clamped));
        vae.optimizer_start = if kept { optimizer_start } else { steps };
        Ok(vae)
    }

    /// Where the tensors `names` belong: a part of `network.tensors[index]` each. They must be those of the model.
    fn places(
        &self,
        network: &Network,
        optimizer: Optimizer,
        names: &[String],
    ) -> Result<Vec<(StateBuffer, usize)>> {
        let prefixes = [StateBuffer::First, StateBuffer::Second].map(prefix);
        let moments = names.iter().any(|name| prefixes.iter().any(|p| name.starts_with(p)));
        let entries = entries(network, optimizer, moments);
        let mut missing: HashMap<_, _> =
            entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut places = Vec::new();
        for name in names {
            let Some(entry) = missing.remove(name.as_str()) else {
                return Err(refused(format!("{name:?} is no part of the model that it describes")));
            };
            let shape = self.contents.tensors.info(name).map_or(&[][..], |info| &info.shape);
            let wanted = &network.tensors[entry.index].shape;
            if shape != wanted {
                return Err(refused(format!(
                    "{name} has shape {shape:?}, but in the model that it describes {wanted:?}"
                )));
            }
            places.push((entry.part, entry.index));
        }
        match entries.iter().find(|entry| missing.contains_key(entry.name.as_str())) {
            Some(entry) => Err(refused(format!("{} is missing", entry.name))),
            None => Ok(places),
        }
    }

    /// Reads the next numbers.
    fn read(&mut self, plain: &mut [f32]) -> Result<()> {
        let mut chunk = [0; CHUNK];
        for plain in plain.chunks_mut(CHUNK / size_of::<f32>()) {
            let bytes = &mut chunk[..size_of_val(plain)];
            self.reader.read_exact(bytes).map_err(unreadable)?;
            for (x, bytes) in plain.iter_mut().zip(bytes.as_chunks().0) {
                *x = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }
}

/// Opens a file and tells its length. What is no regular file is refused: one could wait for ever for a pipe.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    want_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let about = file.metadata()?;
    want_regular(&about)?;
    Ok((file, about.len()))
}

/// Puts bytes into a file, all of them or none: they are written beside it under another name, which becomes that of the
/// file when they have reached the disk. An error leaves the folder as it was; only a process that is killed can leave
/// the other file behind. A symbolic link remains
/// one, and a file keeps its permissions.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (target, permissions) = match fs::metadata(path) {
        Ok(about) => {
            want_regular(&about)?;
            (fs::canonicalize(path)?, Some(about.permissions()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => return write(&path.with_file_name(link), bytes), // to what is not there yet
            Err(_) => (path.to_path_buf(), None),
        },
        Err(error) => return Err(error),
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (temporary, file) = create_in(folder)?;
    let moved = permissions
        .map_or(Ok(()), |permissions| file.set_permissions(permissions))
        .and_then(|()| fill(file, bytes))
        .and_then(|()| fs::rename(&temporary, &target));
    if moved.is_err() {
        let _ = fs::remove_file(&temporary); // the first error tells more
    } else if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all(); // not every file system can; the file is there anyway
    }
    moved
}

/// A new file of a name that nobody uses.
fn create_in(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".fastvae-{}-{number}.tmp", process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // A process with our number left it, or has that number on another machine.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            file => return Ok((path, file?)),
        }
    }
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn want_regular(about: &fs::Metadata) -> io::Result<()> {
    let (kind, what) = match (about.is_file(), about.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => (ErrorKind::IsADirectory, "it is a folder; name a file in it"),
        _ => (ErrorKind::InvalidInput, "it is no regular file; use one, or the bytes themselves"),
    };
    Err(io::Error::new(kind, what))
}
