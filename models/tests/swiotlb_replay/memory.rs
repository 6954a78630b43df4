//! Plain bytes, for the recorded sequences' data operations.

use std::collections::BTreeMap;

const PAGE: u64 = 4096;

/// Zero-filled memory, a page at a time.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pages: BTreeMap<u64, Box<[u8; 4096]>>,
}

impl Memory {
    pub(crate) fn read(&self, addr: u64, len: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap());
        let mut at = addr;
        while at < addr + len {
            let from = usize::try_from(at % PAGE).unwrap();
            let count = (PAGE - at % PAGE).min(addr + len - at);
            let upto = from + usize::try_from(count).unwrap();
            match self.pages.get(&(at / PAGE)) {
                Some(page) => bytes.extend_from_slice(&page[from..upto]),
                None => bytes.resize(bytes.len() + upto - from, 0),
            }
            at += count;
        }
        bytes
    }

    pub(crate) fn write(&mut self, addr: u64, bytes: &[u8]) {
        let mut at = addr;
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = usize::try_from(at % PAGE).unwrap();
            let (now, later) = rest.split_at(rest.len().min(4096 - from));
            let page = self.pages.entry(at / PAGE).or_insert_with(|| Box::new([0; 4096]));
            page[from..from + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
    }

    pub(crate) fn copy(&mut self, from: u64, to: u64, len: u64) {
        let bytes = self.read(from, len);
        self.write(to, &bytes);
    }

    pub(crate) fn clear(&mut self, addr: u64, len: u64) {
        let last = (addr + len).div_ceil(PAGE);
        let mut kept = self.pages.split_off(&(addr / PAGE));
        self.pages.append(&mut kept.split_off(&last));
    }
}
