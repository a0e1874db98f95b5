use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};

/// All maps of a loaded object, for what the kernel says of them.
#[derive(Debug, Default)]
pub(crate) struct MapFds(Vec<OwnedFd>);

impl MapFds {
    /// Notes the maps of an object, before they are taken out of it.
    pub(super) fn of(ebpf: &Ebpf) -> io::Result<Self> {
        let fds = ebpf
            .maps()
            .filter_map(|(_, map)| data_of(map))
            .map(|data| data.fd().as_fd().try_clone_to_owned());
        fds.collect::<io::Result<_>>().map(Self)
    }

    /// The kernel's memory that the maps take now, in bytes.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        self.0.iter().map(|fd| memory_of(fd.as_fd())).sum()
    }
}

/// The kinds that the object has.
fn data_of(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data)
        | Map::ArrayOfMaps(data)
        | Map::HashOfMaps(data)
        | Map::Queue(data)
        | Map::Unsupported(data) => Some(data),
        _ => None,
    }
}

fn memory_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    memlock(&fs::read_to_string(path)?).ok_or(io::ErrorKind::InvalidData.into())
}

/// The line `memlock` of a map's `fdinfo`, proc(5).
fn memlock(fdinfo: &str) -> Option<u64> {
    let line = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nmap_type:\t2\nmax_entries:\t4\nmemlock:\t4096\nmap_id:\t7\n";
        assert_eq!(memlock(fdinfo), Some(4096));
        assert_eq!(memlock("pos:\t0\n"), None);
        assert_eq!(memlock("memlock:\tmuch\n"), None);
    }
}
