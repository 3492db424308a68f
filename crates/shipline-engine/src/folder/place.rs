//! Places: what of a path is followed, and what is not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::obstacle::{Obstacle, What};
use super::{Folder, Owner, Seen};

/// Where something is or will be: a path that is followed, and below it names that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    top: PathBuf,
    below: PathBuf,
    path: PathBuf,
    owner: Owner,
}

impl Place {
    /// A folder that the person who runs the command names, or that is found without the repository's doing. Links in this path
    /// are followed.
    #[must_use]
    pub fn new(top: impl Into<PathBuf>, owner: Owner) -> Self {
        let top = top.into();
        Self {
            path: top.clone(),
            below: PathBuf::new(),
            top,
            owner,
        }
    }

    /// What the repository at `root` names by `relative`: links that stay in it are followed.
    ///
    /// # Errors
    /// An [`Obstacle`] where a link leads out of the repository.
    pub fn inside(root: &Path, relative: impl AsRef<Path>) -> io::Result<Self> {
        let named = Self::new(root, Owner::Anyone).join(relative);
        names(&named.below, &named.path)?;
        let (Ok(root), Ok(real)) = (root.canonicalize(), named.path.canonicalize()) else {
            // Not there: a link on the way to it is refused by whoever opens it.
            return Ok(named);
        };
        match real.strip_prefix(&root) {
            Ok(below) => Ok(Self {
                path: named.path,
                ..Self::new(root, Owner::Anyone).join(below)
            }),
            Err(_) => Err(Obstacle::error(named.path, What::Escapes)),
        }
    }

    /// What is below it.
    #[must_use]
    pub fn join(&self, below: impl AsRef<Path>) -> Self {
        Self {
            top: self.top.clone(),
            below: self.below.join(&below),
            path: self.path.join(below),
            owner: self.owner,
        }
    }

    /// The same, with other folders being opened.
    #[must_use]
    pub fn owned_by(&self, owner: Owner) -> Self {
        Self {
            owner,
            ..self.clone()
        }
    }

    /// Whose folders are opened.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The path, for messages, for commands and for what opens nothing.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder.
    ///
    /// # Errors
    /// `NotFound`; an [`Obstacle`] where a link or a file is in the way, or the folder is another user's.
    pub fn open(&self) -> io::Result<Folder> {
        let folder = Folder::top(&self.top, self.owner)?;
        names(&self.below, &self.path)?
            .into_iter()
            .try_fold(folder, |folder, name| folder.folder(name))
    }

    /// The folder, made with those above it where they are missing.
    ///
    /// # Errors
    /// As [`Place::open`], and where it cannot be made.
    pub fn make(&self) -> io::Result<Folder> {
        let names = names(&self.below, &self.path)?;
        if !self.top.is_dir() {
            std::fs::create_dir_all(&self.top)?;
        }
        names
            .into_iter()
            .try_fold(Folder::top(&self.top, self.owner)?, |folder, name| {
                folder.make_folder(name)
            })
    }

    /// The folder that this is in, and its name there.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub fn parent(&self) -> io::Result<(Folder, OsString)> {
        let (above, name) = self.split()?;
        Ok((above.open()?, name))
    }

    /// The same, made where it is missing.
    ///
    /// # Errors
    /// As [`Place::make`].
    pub fn make_parent(&self) -> io::Result<(Folder, OsString)> {
        let (above, name) = self.split()?;
        Ok((above.make()?, name))
    }

    /// The bytes of the file at this place.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let (folder, name) = self.parent()?;
        folder.read(&name)
    }

    /// The same, of a file that somebody else wrote: of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Place::read`]; `FileTooLarge` where it has more.
    pub fn read_at_most(&self, most: u64) -> io::Result<Vec<u8>> {
        let (folder, name) = self.parent()?;
        folder.read_at_most(&name, most)
    }

    /// What stands at this place.
    ///
    /// # Errors
    /// Where the folder above it cannot be opened, but for one that is missing.
    pub fn see(&self) -> io::Result<Option<Seen>> {
        if self.below.as_os_str().is_empty() {
            return match self.open() {
                Ok(folder) => folder.look().map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        match self.parent() {
            Ok((folder, name)) => folder.see(&name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file whole or not at all; folders above it are made.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_whole(&self, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = self.make_parent()?;
        folder.write_whole(&name, bytes)
    }

    /// Removes the file at this place.
    ///
    /// # Errors
    /// `NotFound`, and where it cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        let (folder, name) = self.parent()?;
        folder.remove(&name)
    }

    fn split(&self) -> io::Result<(Self, OsString)> {
        let (above, below, name) = match self.below.file_name() {
            Some(name) => (
                self.top.clone(),
                self.below.parent().unwrap_or(Path::new("")).to_path_buf(),
                name,
            ),
            None => {
                let name = self.top.file_name().ok_or(Errno::EINVAL)?;
                let above = match self.top.parent() {
                    Some(above) if above.as_os_str().is_empty() => Path::new("."),
                    Some(above) => above,
                    None => Path::new("/"),
                };
                (above.to_path_buf(), PathBuf::new(), name)
            }
        };
        let place = Self {
            path: above.join(&below),
            top: above,
            below,
            owner: self.owner,
        };
        Ok((place, name.to_owned()))
    }
}

impl From<PathBuf> for Place {
    /// A path that the caller answers for, whoever owns it.
    fn from(path: PathBuf) -> Self {
        Self::new(path, Owner::Anyone)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::new(path, Owner::Anyone)
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::new(path, Owner::Anyone)
    }
}

impl From<&std::ffi::OsStr> for Place {
    fn from(path: &std::ffi::OsStr) -> Self {
        Self::new(path, Owner::Anyone)
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

fn names<'p>(below: &'p Path, path: &Path) -> io::Result<Vec<&'p OsStr>> {
    below
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => Err(Obstacle::error(path.to_path_buf(), What::Outside)),
        })
        .collect()
}
