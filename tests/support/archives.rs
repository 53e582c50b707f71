//! Builds valid and malicious zip archives byte by byte.
#![expect(dead_code, reason = "each test program uses a part of it")]

use std::io::{Cursor, Write as _};

/// A file in an archive and its header, which may be wrong.
#[derive(Clone)]
pub struct Item {
    name: Vec<u8>,
    data: Vec<u8>,
    crc: u32,
    method: u16,
    flags: u16,
    mode: u32,
    size: u32,
}

impl Item {
    /// A file without compression.
    pub fn stored(name: &str, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        let (crc, size) = (crc(&data), u32::try_from(data.len()).expect("below 4 GiB"));
        Self { name: name.into(), data, crc, method: 0, flags: 0x800, mode: 0o100_644, size }
    }

    /// A compressed file.
    pub fn deflated(name: &str, data: &[u8]) -> Self {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file("x", options).expect("an entry");
        writer.write_all(data).expect("deflated");
        let whole = writer.finish().expect("an archive").into_inner();
        let number =
            |at: usize, length: usize| whole[at..at + length].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
        // Signature 4, versions and method 6, time 4, sum 4, sizes 8, lengths 4, the name, the extra field.
        let central = whole.windows(4).rposition(|four| four == b"PK\x01\x02").expect("a list");
        let (start, length) = (30 + number(26, 2) + number(28, 2), number(central + 20, 4));
        let crc = u32::try_from(number(central + 16, 4)).expect("four bytes");
        let size = u32::try_from(data.len()).expect("below 4 GiB");
        Self { data: whole[start..start + length].to_vec(), method: 8, crc, size, ..Self::stored(name, []) }
    }

    /// Changes the name.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Declares another size.
    pub fn claiming(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// Makes the checksum wrong.
    pub fn corrupt(self) -> Self {
        Self { crc: self.crc ^ 1, ..self }
    }

    /// Sets the Unix mode.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Declares the file encrypted.
    pub fn encrypted(self) -> Self {
        Self { flags: self.flags | 1, ..self }
    }

    /// Declares another compression method.
    pub fn method(self, method: u16) -> Self {
        Self { method, ..self }
    }

    fn head(&self) -> Vec<u8> {
        let (length, name) =
            (u32::try_from(self.data.len()).expect("short"), u16::try_from(self.name.len()).expect("short"));
        let mut head = Vec::new();
        for short in [20, self.flags, self.method, 0, 0x5821] {
            head.extend(short.to_le_bytes());
        }
        for long in [self.crc, length, self.size] {
            head.extend(long.to_le_bytes());
        }
        head.extend(name.to_le_bytes());
        head.extend([0, 0]);
        head
    }
}

/// Builds an archive of these files, in this order.
pub fn archive(items: &[Item]) -> Vec<u8> {
    let (mut whole, mut list) = (Vec::new(), Vec::new());
    for item in items {
        let offset = u32::try_from(whole.len()).expect("below 4 GiB");
        whole.extend([b"PK\x03\x04", &item.head()[..], &item.name, &item.data].concat());
        // Made by Unix; no comment, disk 0, no internal attributes, the mode, the offset.
        list.extend([b"PK\x01\x02\x1e\x03", &item.head()[..], &[0; 6], &(item.mode << 16).to_le_bytes()].concat());
        list.extend([&offset.to_le_bytes()[..], &item.name].concat());
    }
    let count = u16::try_from(items.len()).expect("few").to_le_bytes();
    let (at, length) = (u32::try_from(whole.len()).expect("short"), u32::try_from(list.len()).expect("short"));
    whole.extend(list);
    whole.extend(
        [b"PK\x05\x06\0\0\0\0", &count[..], &count, &length.to_le_bytes(), &at.to_le_bytes(), &[0, 0]].concat(),
    );
    whole
}

fn crc(bytes: &[u8]) -> u32 {
    let byte = |n: u32| (0..8).fold(n, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 });
    let table: Vec<u32> = (0..256).map(byte).collect();
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)])
}
