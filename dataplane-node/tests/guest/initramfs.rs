//! A root file system for a kernel to unpack into memory when it boots: an archive of cpio's kind `newc`, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: u32 = 0o40_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// Ends the archive.
const TRAILER: &str = "TRAILER!!!";

/// The archive, as far as it is written.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    names: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// A folder with those above it.
    pub(crate) fn folder(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().collect();
        for folder in above.into_iter().rev() {
            if folder.parent().is_some() && self.names.insert(folder.to_owned()) {
                self.entry(folder.to_str().unwrap(), FOLDER, &[]);
            }
        }
    }

    /// A file that can be executed, with the folders above it. Of two of the same path the first one stays.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) {
        self.folder(path.parent().unwrap());
        if self.names.insert(path.to_owned()) {
            self.entry(path.to_str().unwrap(), PROGRAM, content);
        }
    }

    /// A symbolic link, with the folders above it.
    pub(crate) fn link(&mut self, path: &Path, target: &str) {
        self.folder(path.parent().unwrap());
        self.entry(path.to_str().unwrap(), LINK, target.as_bytes());
    }

    /// A program of this machine, by its name or path, with the libraries that it needs.
    pub(crate) fn program(&mut self, program: &str, path: &Path) {
        let original = find(program);
        self.file(path, &fs::read(&original).unwrap());
        let listing = Command::new("ldd").arg(&original).output().unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        for library in listing.split_whitespace().filter(|it| it.starts_with('/')) {
            self.file(Path::new(library), &fs::read(library).unwrap());
        }
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    /// A header of hexadecimal numbers, the name, the content; the latter two filled up to whole words.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.trim_start_matches('/');
        let [owner, group, links, time] = [0, 0, 1, 0];
        let (major, minor, checksum) = (0, 0, 0);
        let size = u32::try_from(content.len()).unwrap();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        let numbers = [
            self.entries,
            mode,
            owner,
            group,
            links,
            time,
            size,
            major,
            minor,
            major,
            minor,
            name_size,
            checksum,
        ];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.fill_word();
        self.bytes.extend(content);
        self.fill_word();
    }

    fn fill_word(&mut self) {
        let whole = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(whole, 0);
    }
}

fn find(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|it| it.is_file())
        .unwrap_or_else(|| panic!("{program} is missing: `make setup` installs it"))
}
