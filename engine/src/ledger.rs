//! The account of an upload's parts, and what their bytes come to.

use std::io;
use std::path::PathBuf;

/// What a part's bytes come to, however they are cut: four lanes of multiply and rotate over
/// blocks of 32 bytes, fast enough not to be noticed beside a write. It is to tell lost pages, not
/// to withstand anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    lanes: [u64; 4],
    /// The bytes that do not fill a block yet.
    rest: [u8; Self::BLOCK],
    len: u64,
}

impl Digest {
    const BLOCK: usize = 32;

    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        let held = self.held();
        self.len += bytes.len() as u64;
        if held > 0 {
            let taken = bytes.len().min(Self::BLOCK - held);
            self.rest[held..held + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if held + taken < Self::BLOCK {
                return;
            }
            let block = self.rest;
            self.mix(&block);
        }
        let mut blocks = bytes.chunks_exact(Self::BLOCK);
        for block in &mut blocks {
            self.mix(block);
        }
        let rest = blocks.remainder();
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    fn held(&self) -> usize {
        (self.len % Self::BLOCK as u64) as usize
    }

    fn mix(&mut self, block: &[u8]) {
        for (lane, word) in self.lanes.iter_mut().zip(block.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            // An odd constant without pattern: 2^64 divided by the golden ratio.
            *lane = (*lane ^ word)
                .wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }

    /// Equal if and, but for chance, only if the bytes were.
    pub(crate) fn finish(mut self) -> [u64; 5] {
        let held = self.held();
        self.rest[held..].fill(0);
        let block = self.rest;
        self.mix(&block);
        let [a, b, c, d] = self.lanes;
        [a, b, c, d, self.len]
    }
}

/// Which bytes a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The account of parts: handed out, written, lost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    handed_out: u64,
    settled: u64,
    size: u64,
    /// The first part that was lost.
    lost: Option<Ticket>,
    pub(crate) hashes: Vec<(Ticket, [u64; 5])>,
    /// Parts that were copied by the kernel, and the files that have their bytes still.
    pub(crate) copied: Vec<(Ticket, PathBuf)>,
}

impl Ledger {
    pub(crate) fn hand_out(&mut self, len: u64) -> Ticket {
        self.handed_out += 1;
        let offset = self.size;
        self.size += len;
        Ticket {
            number: self.handed_out,
            offset,
            len,
        }
    }

    pub(crate) fn settle(&mut self) {
        self.settled += 1;
    }

    pub(crate) fn lose(&mut self, ticket: Ticket) {
        let earlier = self.lost.is_none_or(|lost| ticket.number < lost.number);
        if earlier {
            self.lost = Some(ticket);
        }
    }

    /// The number of bytes accepted, if every part that was handed out has been written.
    pub(crate) fn settled(&self) -> io::Result<u64> {
        if let Some(Ticket {
            number,
            offset,
            len,
        }) = self.lost
        {
            return Err(io::Error::other(format!(
                "part {number}, bytes {offset}..{}, failed or was dropped before it was written; \
                 nothing was published, abort the upload and begin anew",
                offset + len
            )));
        }
        match self.handed_out - self.settled {
            0 => Ok(self.size),
            n => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{n} parts are not written yet; await them, then complete again"),
            )),
        }
    }

    /// Whether of every byte can be told what it should be.
    pub(crate) fn has_all_proofs(&self) -> bool {
        let hashed = self.hashes.iter().map(|(t, _)| t.len);
        let copied = self.copied.iter().map(|(t, _)| t.len);
        hashed.chain(copied).sum::<u64>() == self.size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a part that was handed out.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fate {
        Written,
        Lost,
        Outstanding,
    }

    fn parts() -> impl Strategy<Value = Vec<(u64, Fate, usize)>> {
        let fate = prop_oneof![
            8 => Just(Fate::Written),
            1 => Just(Fate::Lost),
            1 => Just(Fate::Outstanding),
        ];
        // A length, a fate, and a place in the order in which fates come.
        prop::collection::vec((0..1000_u64, fate, any::<usize>()), 0..20)
    }

    proptest! {
        #[test]
        fn a_digest_depends_on_the_bytes_and_not_on_the_cuts(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            cuts in prop::collection::vec(0..50_usize, 0..20),
            changed in any::<prop::sample::Index>(),
        ) {
            let mut whole = Digest::default();
            whole.add(&bytes);
            let mut cut = Digest::default();
            let mut rest = &bytes[..];
            for len in cuts {
                let (part, tail) = rest.split_at(len.min(rest.len()));
                cut.add(part);
                rest = tail;
            }
            cut.add(rest);
            prop_assert_eq!(cut.finish(), whole.finish());

            let mut other = bytes.clone();
            other[changed.index(bytes.len())] ^= 1;
            let mut digest = Digest::default();
            digest.add(&other);
            prop_assert_ne!(digest.finish(), whole.finish());
        }

        /// Accepted is exactly what was handed out, and only if all of it was written, in
        /// whatever order that came.
        #[test]
        fn an_account_is_settled_when_every_part_was_written(parts in parts()) {
            let mut ledger = Ledger::default();
            let tickets: Vec<_> = parts.iter().map(|(len, ..)| ledger.hand_out(*len)).collect();

            let mut end = 0;
            for (ticket, (len, ..)) in tickets.iter().zip(&parts) {
                prop_assert_eq!((ticket.offset, ticket.len), (end, *len));
                end += len;
            }

            let mut order: Vec<_> = (0..parts.len()).collect();
            order.sort_by_key(|i| parts[*i].2);
            for i in order {
                match parts[i].1 {
                    Fate::Written => ledger.settle(),
                    Fate::Lost => ledger.lose(tickets[i]),
                    Fate::Outstanding => {}
                }
            }

            let first = |fate| parts.iter().position(|(_, f, _)| *f == fate);
            match ledger.settled() {
                Ok(size) => {
                    prop_assert_eq!((first(Fate::Lost), first(Fate::Outstanding)), (None, None));
                    prop_assert_eq!(size, end);
                }
                Err(e) => match first(Fate::Lost) {
                    Some(lost) => {
                        let named = format!("part {}, bytes", lost + 1);
                        prop_assert!(e.to_string().starts_with(&named), "{}", e);
                    }
                    None => {
                        prop_assert!(first(Fate::Outstanding).is_some());
                        prop_assert_eq!(e.kind(), io::ErrorKind::ResourceBusy);
                    }
                },
            }
        }
    }
}
