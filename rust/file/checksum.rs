//! Checksums of the parts of a file.
//!
//! The checksum is CRC-32, as in zlib, gzip and PNG. It detects any change of up to 32 adjacent bits. It protects
//! against accidents (a failing disk, a broken transfer), not against forgery: CRC-32 has no secret key.

use crc32fast::Hasher;
use std::collections::BTreeMap;

/// An incremental checksum.
#[derive(Default)]
pub struct Checksum(Hasher);

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum in the format of the file: eight hexadecimal digits.
    pub fn finish(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

/// The checksum of metadata: keys and values in the order of the keys, each followed by a zero byte.
pub fn of_metadata<K: AsRef<str> + Ord, V: AsRef<str>>(metadata: &BTreeMap<K, V>) -> String {
    let mut checksum = Checksum::default();
    for (key, value) in metadata {
        for text in [key.as_ref(), value.as_ref()] {
            checksum.update(text.as_bytes());
            checksum.update(&[0]);
        }
    }
    checksum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_zlib() {
        let mut checksum = Checksum::default();
        assert_eq!(Checksum::default().finish(), "00000000");
        checksum.update(b"12345");
        checksum.update(b"6789");
        assert_eq!(checksum.finish(), "cbf43926"); // the check value in the catalogue of CRCs
    }
}
