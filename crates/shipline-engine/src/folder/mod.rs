//! Folders that are opened without following links.
//!
//! A repository may hold a link wherever Shipline keeps something: committed, unpacked from an archive, or left by a command.
//! Whoever opens a path follows it, and reads, overwrites or deletes what lies elsewhere. So a [`Place`] says which part of a
//! path is the word of the person who runs the command (that part is followed), and everything below it is opened name by name
//! from the folder above it, which is held open: a link in the way is an error, also one that comes between a look and the
//! use. What is opened as a file is one: no pipe that would block, no device.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag};
use nix::unistd::UnlinkatFlags;

mod obstacle;
mod place;
#[cfg(test)]
mod tests;

pub use obstacle::Obstacle;
pub use place::Place;

use obstacle::What;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Whose folders are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Those of the user that this process runs as. What is made is for this user alone.
    Ours,
    /// Anybody's, as in a repository. What is made has the permissions that the umask leaves.
    Anyone,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device.
    Special,
}

/// How something looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Permissions, with the set-ID and sticky bits.
    pub permissions: u32,
    /// Bytes.
    pub size: u64,
    /// Its file system's number.
    pub device: u64,
    /// Its number on its file system.
    pub inode: u64,
    /// When its content changed, in nanoseconds since 1970 UTC.
    pub modified_ns: i128,
    /// When anything of it changed, in nanoseconds since 1970 UTC.
    pub changed_ns: i128,
    owner: u32,
    names: u64,
}

impl Seen {
    /// What stands at a path, a link at its end as what it is.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(seen(&nix::sys::stat::lstat(path)?))
    }

    /// How long ago the content changed; nothing where that lies in the future.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let modified = u64::try_from(self.modified_ns).ok()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(modified))?;
        at.elapsed().ok()
    }
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What stands there.
    pub kind: Kind,
}

/// A folder that is held open. Names given to it are single names.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    owner: Owner,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder {
    pub(super) fn top(path: &Path, owner: Owner) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            fd: nix::fcntl::open(path, flags, Mode::empty())?,
            path: path.to_path_buf(),
            owner,
        })
    }

    /// The path by which it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same folder, in which folders of anybody are opened: commands left them there.
    #[must_use]
    pub fn of_anyone(mut self) -> Self {
        self.owner = Owner::Anyone;
        self
    }

    /// A folder in it.
    ///
    /// # Errors
    /// `NotFound`; an [`Obstacle`] where it is none, or another user's.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = single(name.as_ref())?;
        let folder = self.enter(name)?;
        if folder.owner == Owner::Ours {
            let seen = folder.look()?;
            if seen.owner != nix::unistd::geteuid().as_raw() {
                return Err(Obstacle::error(folder.path, What::Foreign(seen.owner)));
            }
        }
        Ok(folder)
    }

    fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match nix::fcntl::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self {
                fd,
                path: self.path.join(name),
                owner: self.owner,
            }),
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::EMLINK) => {
                Err(self.obstacle(name, What::NoFolder))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// A folder in it, made where it is missing.
    ///
    /// # Errors
    /// As [`Folder::folder`], and where it cannot be made.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = single(name.as_ref())?;
        match self.folder(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mode = match self.owner {
            Owner::Ours => 0o700,
            Owner::Anyone => 0o777,
        };
        match nix::sys::stat::mkdirat(&self.fd, name, mode_of(mode)) {
            // Another process may have been quicker.
            Ok(()) | Err(Errno::EEXIST) => self.folder(name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How the folder itself looks.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub fn look(&self) -> io::Result<Seen> {
        Ok(seen(&nix::sys::stat::fstat(&self.fd)?))
    }

    /// What stands at a name, a link as what it is.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn see(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Seen>> {
        let name = single(name.as_ref())?;
        match nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(seen(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Everything in it, in no order.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // A descriptor of its own: the position in a folder is shared by copies of one.
        let fd = nix::fcntl::openat(&self.fd, c".", flags, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = OsStr::from_bytes(name.to_bytes());
            let kind = match entry.file_type() {
                Some(Type::File) => Kind::File,
                Some(Type::Directory) => Kind::Folder,
                Some(Type::Symlink) => Kind::Link,
                Some(Type::Fifo | Type::CharacterDevice | Type::BlockDevice | Type::Socket) => {
                    Kind::Special
                }
                None => match self.see(name)? {
                    Some(seen) => seen.kind,
                    // Gone meanwhile.
                    None => continue,
                },
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind,
            });
        }
        Ok(entries)
    }

    /// A file, for reading.
    ///
    /// # Errors
    /// `NotFound`; an [`Obstacle`] where it is none.
    pub fn open(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.file(name.as_ref(), OFlag::O_RDONLY)
            .map(|(file, _)| file)
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The same, of a file that somebody else wrote: of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Folder::open`]; `FileTooLarge` where it has more.
    pub fn read_at_most(&self, name: impl AsRef<OsStr>, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// A file, for reading and for writing in place, made where it is missing: what is locked must keep its name.
    ///
    /// # Errors
    /// An [`Obstacle`] where it is none, has other names too, or is another user's.
    pub fn open_or_create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.in_place(name.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    /// The same, for writing at its end.
    ///
    /// # Errors
    /// As [`Folder::open_or_create`].
    pub fn append(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
        self.in_place(name.as_ref(), flags)
    }

    fn in_place(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let (file, seen) = self.file(name, flags)?;
        let wrong = if seen.names > 1 {
            What::Shared
        } else if self.owner == Owner::Ours && seen.owner != nix::unistd::geteuid().as_raw() {
            What::Foreign(seen.owner)
        } else {
            return Ok(file);
        };
        Err(Obstacle::error(self.path.join(name), wrong))
    }

    /// A new file, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` where anything has the name.
    pub fn create_new(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        self.file(name.as_ref(), flags).map(|(file, _)| file)
    }

    fn file(&self, name: &OsStr, flags: OFlag) -> io::Result<(File, Seen)> {
        let name = single(name)?;
        // A pipe without a reader or writer would block.
        let flags =
            flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let mode = match self.owner {
            Owner::Ours => 0o600,
            Owner::Anyone => 0o666,
        };
        let fd = match nix::fcntl::openat(&self.fd, name, flags, mode_of(mode)) {
            Ok(fd) => fd,
            Err(Errno::ELOOP | Errno::EMLINK | Errno::EISDIR | Errno::ENXIO) => {
                return Err(self.obstacle(name, What::NoFile));
            }
            Err(errno) => return Err(errno.into()),
        };
        let seen = seen(&nix::sys::stat::fstat(&fd)?);
        if seen.kind != Kind::File {
            return Err(Obstacle::error(self.path.join(name), What::NoFile));
        }
        Ok((File::from(fd), seen))
    }

    /// A new file under a name that nobody else uses, and the name. Names end in `.tmp`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn temporary(&self, stem: impl AsRef<OsStr>) -> io::Result<(File, OsString)> {
        loop {
            let mut name = stem.as_ref().to_owned();
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            name.push(format!(".{}-{next}.tmp", std::process::id()));
            match self.create_new(&name) {
                // Left by a process that had our ID.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((made?, name)),
            }
        }
    }

    /// Writes a file by a temporary one beside it, made durable and renamed: it is there whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written; what was there is as it was.
    pub fn write_whole(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        let name = name.as_ref();
        let (mut file, temporary) = self.temporary(name)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename(&temporary, self, name))
            .and_then(|()| self.sync());
        if written.is_err() {
            // The error that is told is the first one.
            let _ = self.remove(&temporary);
        }
        written
    }

    /// Gives what has a name in this folder another one in `to`; what has that name is replaced.
    ///
    /// # Errors
    /// Where it cannot be moved.
    pub fn rename(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        new: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, new) = (single(name.as_ref())?, single(new.as_ref())?);
        Ok(nix::fcntl::renameat(&self.fd, name, &to.fd, new)?)
    }

    /// Gives a file of this folder a second name in `to`.
    ///
    /// # Errors
    /// `AlreadyExists`; where the file systems differ or have no links.
    pub fn link(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        new: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, new) = (single(name.as_ref())?, single(new.as_ref())?);
        let none = AtFlags::empty();
        Ok(nix::unistd::linkat(&self.fd, name, &to.fd, new, none)?)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// `AlreadyExists`, and where the file system has none.
    pub fn make_link(&self, name: impl AsRef<OsStr>, target: &OsStr) -> io::Result<()> {
        let name = single(name.as_ref())?;
        Ok(nix::unistd::symlinkat(target, &self.fd, name)?)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// Where it is none.
    pub fn link_target(&self, name: impl AsRef<OsStr>) -> io::Result<OsString> {
        let name = single(name.as_ref())?;
        Ok(nix::fcntl::readlinkat(&self.fd, name)?)
    }

    /// Sets the permissions of a file or folder; of a link never.
    ///
    /// # Errors
    /// Where they cannot be set.
    pub fn set_permissions(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        let name = single(name.as_ref())?;
        let flag = FchmodatFlags::NoFollowSymlink;
        Ok(nix::sys::stat::fchmodat(
            &self.fd,
            name,
            mode_of(mode),
            flag,
        )?)
    }

    /// Sets the permissions of the folder itself.
    ///
    /// # Errors
    /// Where they cannot be set.
    pub fn set_own_permissions(&self, mode: u32) -> io::Result<()> {
        Ok(nix::sys::stat::fchmod(&self.fd, mode_of(mode))?)
    }

    /// Says that a file was used now.
    ///
    /// # Errors
    /// Where it cannot be set.
    pub fn touch(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.open(name)?.set_modified(SystemTime::now())
    }

    /// Removes a file, or a link itself.
    ///
    /// # Errors
    /// `NotFound`, and where it cannot be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = single(name.as_ref())?;
        let flag = UnlinkatFlags::NoRemoveDir;
        Ok(nix::unistd::unlinkat(&self.fd, name, flag)?)
    }

    /// Removes whatever has a name, a folder with all that is in it, also where the write permission was taken away from it.
    /// That nothing is there is no error.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = single(name.as_ref())?;
        match self.see(name)? {
            None => Ok(()),
            Some(seen) => self.remove_tree(name, seen.kind),
        }
    }

    fn remove_tree(&self, name: &OsStr, kind: Kind) -> io::Result<()> {
        if kind != Kind::Folder {
            return gone(self.remove(name));
        }
        let folder = match self.enter(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.set_permissions(name, 0o700)?;
                self.enter(name)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            folder => folder?,
        };
        if folder.empty().is_err() {
            // A build took the write permission away.
            folder.set_own_permissions(0o700)?;
            folder.empty()?;
        }
        gone(nix::unistd::unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).map_err(Into::into))
    }

    fn empty(&self) -> io::Result<()> {
        for entry in self.entries()? {
            self.remove_tree(&entry.name, entry.kind)?;
        }
        Ok(())
    }

    /// Removes what processes that were killed left half-written. Nobody may be writing there. What stays is tried again by the
    /// next sweep.
    pub fn sweep(&self) {
        for entry in self.entries().into_iter().flatten() {
            if Path::new(&entry.name).extension() == Some(OsStr::new("tmp"))
                && entry.kind != Kind::Folder
            {
                let _ = self.remove(&entry.name);
            }
        }
    }

    /// Refuses links in it, `depth` folders deep: for libraries that open it by paths of their own.
    ///
    /// # Errors
    /// An [`Obstacle`] that names the first one.
    pub fn refuse_links(&self, depth: usize) -> io::Result<()> {
        for entry in self.entries()? {
            match entry.kind {
                Kind::Link => return Err(Obstacle::error(self.path.join(entry.name), What::Link)),
                Kind::Folder if depth > 0 => self.folder(&entry.name)?.refuse_links(depth - 1)?,
                Kind::File | Kind::Folder | Kind::Special => {}
            }
        }
        Ok(())
    }

    /// Makes its names durable.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.fd)?)
    }

    /// Bytes of all files in it, at any depth.
    #[must_use]
    pub fn size(&self) -> u64 {
        let mut size = 0;
        for entry in self.entries().into_iter().flatten() {
            size += match entry.kind {
                Kind::Folder => self.enter(&entry.name).map_or(0, |folder| folder.size()),
                Kind::File | Kind::Link | Kind::Special => match self.see(&entry.name) {
                    Ok(Some(seen)) => seen.size,
                    // Gone meanwhile: it has no size.
                    Ok(None) | Err(_) => 0,
                },
            };
        }
        size
    }

    /// What stands in the way at a name that is not what it must be.
    fn obstacle(&self, name: &OsStr, otherwise: What) -> io::Error {
        let what = match self.see(name) {
            Ok(Some(seen)) if seen.kind == Kind::Link => What::Link,
            Ok(_) | Err(_) => otherwise,
        };
        Obstacle::error(self.path.join(name), what)
    }
}

/// A file that a look at its folder found, for reading: whatever it is now, a link is not followed.
///
/// # Errors
/// `NotFound`; an [`Obstacle`] where it is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let (folder, name) = Place::from(path).parent()?;
    folder.open(name)
}

fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
        return Err(Obstacle::error(PathBuf::from(name), What::Outside));
    }
    Ok(name)
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn mode_of(mode: u32) -> Mode {
    // Its type is as wide as the platform's.
    Mode::from_bits_truncate(mode as nix::libc::mode_t)
}

fn seen(stat: &FileStat) -> Seen {
    let format = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    Seen {
        kind: if format == SFlag::S_IFREG {
            Kind::File
        } else if format == SFlag::S_IFDIR {
            Kind::Folder
        } else if format == SFlag::S_IFLNK {
            Kind::Link
        } else {
            Kind::Special
        },
        permissions: stat.st_mode & 0o7777,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        device: stat.st_dev,
        inode: stat.st_ino,
        modified_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
        owner: stat.st_uid,
        names: stat.st_nlink,
    }
}
