//! Checksums of the pieces of a file.
//!
//! They are CRC-32, as in zlib, gzip and PNG: every program can recompute them, and any change of up to 32 adjacent bits is
//! found. They guard against accidents (a failing disk, a broken transfer), not against malice: whoever can forge a file
//! can forge its checksums too.

use crc32fast::Hasher;
use std::collections::BTreeMap;

/// The checksum of bytes that come in several parts.
#[derive(Default)]
pub struct Checksum(Hasher);

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As it is written in a file: eight hexadecimal digits.
    pub fn finish(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

/// The checksum of metadata: of their keys and values in the order of the keys, a zero byte behind each.
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
