//! What the header of a file says, in the versions of the format that are read.

use super::counters::Counters;
use super::header::{self, Texts, described, object, taken};
use super::{FORMAT_VERSION, checksum, damaged, refused, version_1};
use crate::error::Result;
use crate::model::Specification;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;

/// What a header says.
#[derive(Debug)]
pub struct Contents {
    /// What the model is.
    pub specification: Specification,
    /// How far its training has come.
    pub counters: Counters,
    /// The estimator's text.
    pub estimator: String,
    /// The tensors, which have one type and lie end to end.
    pub tensors: Metadata,
    /// The checksum of each, if the version of the file has some.
    pub checksums: Option<Texts>,
}

/// The header of a file with these tensors, each of which has a checksum.
pub fn to_json(
    specification: &str,
    counters: Counters,
    estimator: &str,
    tensors: &[(&str, TensorInfo)],
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
    // The version first: another one may differ in anything else.
    match metadata.get("format_version").map(String::as_str) {
        Some(FORMAT_VERSION) => from_metadata(metadata, described(tensors)?),
        Some(version_1::FORMAT_VERSION) => {
            let tensors = described(tensors)?;
            let (specification, counters, estimator) = version_1::read(&mut metadata)?;
            nothing_else(&metadata)?;
            Ok(Contents { specification, counters, estimator, tensors, checksums: None })
        }
        Some(version) => Err(refused(format!(
            "its format has version {version:?}, and this is fastvae {}, which reads versions {:?} and {FORMAT_VERSION:?}; \
             use a newer fastvae",
            env!("CARGO_PKG_VERSION"),
            version_1::FORMAT_VERSION,
        ))),
        None => Err(refused("its metadata have no format_version")),
    }
}

/// The contents of a file of this version.
fn from_metadata(mut metadata: Texts, tensors: Metadata) -> Result<Contents> {
    // Before anything else is read of them.
    let wanted = taken(&mut metadata, "metadata_checksum")?;
    let found = checksum::of_metadata(&metadata);
    if found != wanted {
        return Err(damaged("__metadata__", &found, &wanted));
    }
    metadata.remove("format_version");
    let specification = taken(&mut metadata, "specification")?;
    let counters = taken(&mut metadata, "counters")?;
    let estimator = taken(&mut metadata, "estimator")?;
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

/// An error if the metadata have a text that nobody took.
fn nothing_else(metadata: &Texts) -> Result<()> {
    match metadata.keys().next() {
        Some(key) => Err(refused(format!("its metadata have {key:?}, which is not known"))),
        None => Ok(()),
    }
}
