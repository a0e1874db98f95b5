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
            .map(|(_, map)| data_of(map).fd().as_fd().try_clone_to_owned());
        fds.collect::<io::Result<_>>().map(Self)
    }

    /// The kernel's memory that the maps take now, in bytes.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        self.0.iter().map(|fd| memory_of(fd.as_fd())).sum()
    }
}

/// Whatever its kind is: none may be left out of the sum.
fn data_of(map: &Map) -> &MapData {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::BloomFilter(data)
        | Map::CgroupArray(data)
        | Map::CgroupStorage(data)
        | Map::CgrpStorage(data)
        | Map::CpuMap(data)
        | Map::DevMap(data)
        | Map::DevMapHash(data)
        | Map::HashMap(data)
        | Map::HashOfMaps(data)
        | Map::InodeStorage(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuCgroupStorage(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::PerfEventArray(data)
        | Map::ProgramArray(data)
        | Map::Queue(data)
        | Map::ReusePortSockArray(data)
        | Map::RingBuf(data)
        | Map::SockHash(data)
        | Map::SockMap(data)
        | Map::SkStorage(data)
        | Map::Stack(data)
        | Map::StackTraceMap(data)
        | Map::Unsupported(data)
        | Map::XskMap(data) => data,
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
