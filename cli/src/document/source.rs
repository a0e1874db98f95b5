use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context as _;

/// A file named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileArg {
    /// `-`.
    Stdin,
    /// Anything else.
    Path(PathBuf),
}

/// A file's text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that mistakes are reported with.
    pub name: String,
    /// The contents, as they are.
    pub bytes: Vec<u8>,
}

// === impl FileArg ===

impl FromStr for FileArg {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(match s {
            "-" => Self::Stdin,
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

// === impl Source ===

impl Source {
    /// Reads every file. `-` may be there once.
    pub fn read_all(files: &[FileArg]) -> anyhow::Result<Vec<Self>> {
        if files.iter().filter(|file| **file == FileArg::Stdin).count() > 1 {
            anyhow::bail!(
                "`-f -` is given more than once, but standard input can be read only once"
            );
        }
        files.iter().map(Self::read).collect()
    }

    fn read(file: &FileArg) -> anyhow::Result<Self> {
        match file {
            FileArg::Stdin => {
                let mut bytes = Vec::new();
                io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .context("cannot read standard input")?;
                Ok(Self {
                    name: "<stdin>".to_owned(),
                    bytes,
                })
            }
            FileArg::Path(path) => Ok(Self {
                name: path.display().to_string(),
                bytes: read_file(path)?,
            }),
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.is_dir() {
        anyhow::bail!(
            "{} is a directory: name its files, each with `-f`",
            path.display()
        );
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
