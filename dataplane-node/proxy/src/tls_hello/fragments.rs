use super::{HelloRefusal, Name};

/// Bytes ahead of each record.
pub(super) const RECORD_BYTES: usize = 5;

/// A part of a message, which may lie in several records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragments<'a> {
    /// What is left of the record.
    record: &'a [u8],
    /// The records behind it.
    behind: &'a [u8],
    /// Bytes of the part. The records have as many.
    left: usize,
}

impl<'a> Fragments<'a> {
    /// The first bytes of the records' content, of which there are as many.
    pub(super) const fn new(records: &'a [u8], left: usize) -> Self {
        Self {
            record: b"",
            behind: records,
            left,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(super) fn byte(&mut self) -> Result<u8, HelloRefusal> {
        let rest = self.left.checked_sub(1).ok_or(HelloRefusal::Length)?;
        self.next_record();
        let (first, record) = self.record.split_first().ok_or(HelloRefusal::Length)?;
        (self.record, self.left) = (record, rest);
        Ok(*first)
    }

    pub(super) fn two(&mut self) -> Result<u16, HelloRefusal> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), HelloRefusal> {
        self.part(count).map(|_part| ())
    }

    /// Takes the first bytes.
    pub(super) fn part(&mut self, count: usize) -> Result<Self, HelloRefusal> {
        self.left = self.left.checked_sub(count).ok_or(HelloRefusal::Length)?;
        let part = Self {
            left: count,
            ..*self
        };
        let mut count = count;
        while count > 0 {
            self.next_record();
            let here = count.min(self.record.len());
            if here == 0 {
                return Err(HelloRefusal::Length);
            }
            self.record = &self.record[here..];
            count -= here;
        }
        Ok(part)
    }

    /// A part behind its length of one byte.
    pub(super) fn short(&mut self) -> Result<Self, HelloRefusal> {
        let length = self.byte()?;
        self.part(length.into())
    }

    /// A part behind its length of two bytes.
    pub(super) fn long(&mut self) -> Result<Self, HelloRefusal> {
        let length = self.two()?;
        self.part(length.into())
    }

    /// All of it, in place.
    pub(super) fn name(mut self) -> Result<Name, HelloRefusal> {
        let mut name = Name::new();
        while !self.is_empty() {
            name.push(self.byte()?).ok_or(HelloRefusal::Length)?;
        }
        Ok(name)
    }

    pub(super) const fn len(&self) -> usize {
        self.left
    }

    fn next_record(&mut self) {
        if !self.record.is_empty() {
            return;
        }
        if let Some((header, behind)) = self.behind.split_first_chunk::<RECORD_BYTES>() {
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let length = length.min(behind.len());
            (self.record, self.behind) = behind.split_at(length);
        }
    }
}
