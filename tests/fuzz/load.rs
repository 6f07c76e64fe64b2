//! Reads bytes as a model file, as they are and with the checksums that belong to them: a fuzzer does not guess CRCs.
//! No input may cause a panic, and what is read must be written and read again with the same bytes.

#![no_main]

use crc32fast::hash;
use fastvae::file::{ModelFile, to_bytes};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(sealed) = sealed(bytes) {
        read(&sealed);
    }
});

fn read(bytes: &[u8]) {
    let Ok(file) = ModelFile::open(bytes, bytes.len() as u64) else { return };
    let estimator = file.estimator().to_string();
    let Ok((engine, history)) = file.read() else { return };
    let written = to_bytes(&engine, &estimator, &history, true).unwrap();
    let (again, losses) = ModelFile::open(written.as_slice(), written.len() as u64)
        .and_then(ModelFile::read)
        .unwrap();
    assert_eq!(to_bytes(&again, &estimator, &losses, true).unwrap(), written);
}

/// A file with the checksums that belong to its metadata and data, if its header is JSON of the right form.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut header: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let mut metadata = header.remove("__metadata__")?;
    let metadata = metadata.as_object_mut()?;
    let mut checksums = Map::new();
    for (name, info) in &header {
        let at = |i: usize| usize::try_from(info["data_offsets"][i].as_u64()?).ok();
        let tensor = data.get(at(0)?..at(1)?)?;
        checksums.insert(name.clone(), format!("{:08x}", hash(tensor)).into());
    }
    metadata.insert("checksums".into(), Value::Object(checksums).to_string().into());
    metadata.remove("metadata_checksum");
    let mut all = String::new();
    for (key, value) in metadata.iter() {
        all += &format!("{key}\0{}\0", value.as_str()?);
    }
    metadata.insert("metadata_checksum".into(), format!("{:08x}", hash(all.as_bytes())).into());
    let mut whole = Map::from_iter([("__metadata__".into(), Value::Object(metadata.clone()))]);
    whole.extend(header);
    let text = Value::Object(whole).to_string();
    Some([&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat())
}
