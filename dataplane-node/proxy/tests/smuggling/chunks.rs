use super::{ChunkReader, Chunked, Refusal};

/// A body in chunks, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) data: Vec<u8>,
    /// Bytes of the body, with its framing.
    pub(crate) taken: usize,
    /// As it is then.
    pub(crate) reader: ChunkReader,
}

impl Read {
    /// Reads the body at the beginning of `bytes` in parts of at most these sizes.
    pub(crate) fn all(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Result<Self, Refusal> {
        let mut read = Self {
            data: Vec::new(),
            taken: 0,
            reader: ChunkReader::new(),
        };
        for size in sizes {
            let rest = &bytes[read.taken..];
            if rest.is_empty() || read.reader.is_done() {
                break;
            }
            let part = &rest[..rest.len().min(size)];
            let taken = match read.reader.next(part)? {
                Chunked::Data(taken) => {
                    read.data.extend_from_slice(&part[..taken]);
                    taken
                }
                Chunked::Frame(taken) | Chunked::End(taken) => taken,
            };
            assert!(taken > 0, "it goes on");
            read.taken += taken;
        }
        Ok(read)
    }
}
