//! The contents of a file's header, for all supported format versions.

use super::counters::Counters;
use super::header::{self, Texts, described, object, taken};
use super::{FORMAT_VERSION, checksum, damaged, limits, refused, version_1};
use crate::error::Result;
use crate::model::Specification;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;

/// The version before the current one: the same, without tensors of the history.
const VERSION_2: &str = "2";

/// Bytes of the estimator's text for each value of a history, which old files have there: losses have many digits.
const OLD_LOSS: usize = 8;

/// The contents of a header.
#[derive(Debug)]
pub struct Contents {
    /// The specification of the model.
    pub specification: Specification,
    /// The counters of its training.
    pub counters: Counters,
    /// The text of the Python layer.
    pub estimator: String,
    /// The tensors, contiguous in the file: float32, and float64 for the history.
    pub tensors: Metadata,
    /// The checksum of each tensor; none in files of version 1.
    pub checksums: Option<Texts>,
}

/// The header of a file; one checksum for each tensor.
pub fn to_json(
    specification: &str,
    counters: Counters,
    estimator: &str,
    tensors: &[(String, TensorInfo)],
    checksums: &[String],
) -> Result<Vec<u8>> {
    let counters = serde_json::to_string(&counters.named()).map_err(refused)?;
    let named: BTreeMap<_, _> = tensors.iter().map(|(name, _)| name).zip(checksums).collect();
    let checksums = serde_json::to_string(&named).map_err(refused)?;
    let mut metadata = BTreeMap::from([
        ("format_version", FORMAT_VERSION),
        ("specification", specification),
        ("counters", &counters),
        ("estimator", estimator),
        ("checksums", &checksums),
    ]);
    let checksum = checksum::of_metadata(&metadata);
    metadata.insert("metadata_checksum", &checksum);
    header::write(&metadata, tensors)
}

/// The inverse of [`to_json`].
pub fn from_json(header: &[u8]) -> Result<Contents> {
    let (mut metadata, tensors) = header::read(header)?;
    // Check the version first: everything else depends on it.
    match metadata.get("format_version").map(String::as_str) {
        Some(VERSION_2 | FORMAT_VERSION) => from_metadata(metadata, described(tensors)?),
        Some(version_1::FORMAT_VERSION) => {
            let tensors = described(tensors)?;
            let (specification, counters, estimator) = version_1::read(&mut metadata)?;
            nothing_else(&metadata)?;
            limits::check(&estimator, values(&tensors).saturating_add(estimator.len() / OLD_LOSS))
                .map_err(refused)?;
            Ok(Contents { specification, counters, estimator, tensors, checksums: None })
        }
        Some(version) => Err(refused(format!(
            "its format has version {version:?}, and this is fastvae {}, which reads versions {:?}, {VERSION_2:?} and \
             {FORMAT_VERSION:?}; use a newer fastvae",
            env!("CARGO_PKG_VERSION"),
            version_1::FORMAT_VERSION,
        ))),
        None => Err(refused("its metadata have no format_version")),
    }
}

/// The contents of a file of the current version or the one before.
fn from_metadata(mut metadata: Texts, tensors: Metadata) -> Result<Contents> {
    // Verify the checksum before the other metadata.
    let wanted = taken(&mut metadata, "metadata_checksum")?;
    let found = checksum::of_metadata(&metadata);
    if found != wanted {
        return Err(damaged("__metadata__", &found, &wanted));
    }
    let old = metadata.remove("format_version").is_some_and(|version| version == VERSION_2);
    let specification = taken(&mut metadata, "specification")?;
    let counters = taken(&mut metadata, "counters")?;
    let estimator = taken(&mut metadata, "estimator")?;
    let history = if old { estimator.len() / OLD_LOSS } else { 0 };
    limits::check(&estimator, history.saturating_add(values(&tensors))).map_err(refused)?;
    let checksums = taken(&mut metadata, "checksums")?;
    nothing_else(&metadata)?;
    let checksums: Texts = object("checksums", &checksums)?;
    let names = tensors.offset_keys();
    if let Some(name) = names.iter().find(|name| !checksums.contains_key(*name)) {
        return Err(refused(format!("{name:?} has no checksum")));
    }
    if names.len() < checksums.len() {
        return Err(refused("it has fewer tensors than checksums"));
    }
    Ok(Contents {
        specification: Specification::from_json(&specification).map_err(refused)?,
        counters: Counters::from_named(&object("counters", &counters)?)?,
        estimator,
        tensors,
        checksums: Some(checksums),
    })
}

/// The size of the tensors, in values of float32. Names and marks of features are fewer: each feature has weights.
fn values(tensors: &Metadata) -> usize {
    tensors.data_len() / size_of::<f32>()
}

/// Returns an error if unread metadata remain.
fn nothing_else(metadata: &Texts) -> Result<()> {
    match metadata.keys().next() {
        Some(key) => Err(refused(format!("its metadata have {key:?}, which is not known"))),
        None => Ok(()),
    }
}
