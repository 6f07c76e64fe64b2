//! Atomic writes of files.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Names of temporary files: these two around a random number.
const PREFIX: &str = ".fastvae-";
const SUFFIX: &str = ".tmp";

/// How often a write starts again if its temporary file disappears.
const ATTEMPTS: usize = 10;

/// Opens a regular file and returns its length. Refuses all other kinds of files: a pipe could block forever.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let about = file.metadata()?;
    check_regular(&about)?;
    Ok((file, about.len()))
}

/// Writes a file atomically: writes a temporary file in the same folder, syncs it to disk, and renames it. An error
/// leaves the folder unchanged; only a killed process can leave the temporary file, which the next write to that folder
/// removes. Follows symbolic links. Keeps the permissions of an existing file, and its owner if the system allows it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (target, old) = match fs::metadata(path) {
        Ok(about) => {
            check_regular(&about)?;
            (fs::canonicalize(path)?, Some(about))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => return write(&path.with_file_name(link), bytes), // the link's target does not exist
            Err(_) => (path.to_path_buf(), None),
        },
        Err(error) => return Err(error),
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    remove_strays(folder);
    let mut written = replace(folder, &target, old.as_ref(), bytes);
    for _ in 1..ATTEMPTS {
        match &written {
            // Another process has taken the temporary file for a stray one, before it was locked.
            Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => {
                written = replace(folder, &target, old.as_ref(), bytes);
            }
            _ => break,
        }
    }
    written?;
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all(); // some file systems cannot sync a folder; the file exists in any case
    }
    Ok(())
}

/// Writes a temporary file and renames it to `target`. It is locked, so that other processes know it from a stray one.
fn replace(folder: &Path, target: &Path, old: Option<&Metadata>, bytes: &[u8]) -> io::Result<()> {
    let number = RandomState::new().hash_one(target);
    let temporary = Temporary(folder.join(format!("{PREFIX}{number:016x}{SUFFIX}")));
    let mut file = File::create_new(&temporary.0)?;
    let _ = file.try_lock(); // some file systems have no locks; nothing is taken for a stray file there
    if let Some(old) = old {
        keep_owner(&file, old);
        file.set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary.0, target)
}

/// A temporary file; removed when dropped, unless it has been renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes the temporary files of killed processes. Those of living ones are locked.
fn remove_strays(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let free = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if free {
                let _ = fs::remove_file(entry.path()); // it may be of another user
            }
        }
    }
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// Gives a new file the owner of the old one, or its group, as far as the system allows it.
#[cfg(unix)]
fn keep_owner(new: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    if fchown(new, Some(old.uid()), Some(old.gid())).is_err() {
        let _ = fchown(new, None, Some(old.gid()));
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) {}

fn check_regular(about: &Metadata) -> io::Result<()> {
    let (kind, what) = match (about.is_file(), about.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => (ErrorKind::IsADirectory, "it is a folder; name a file in it"),
        _ => (ErrorKind::InvalidInput, "it is no regular file; use one, or the bytes themselves"),
    };
    Err(io::Error::new(kind, what))
}
