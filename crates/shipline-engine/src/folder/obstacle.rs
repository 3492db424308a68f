//! What stands in the way of opening something.

use std::io;
use std::path::PathBuf;

/// Something that is not what it must be, at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {what}", path.display())]
pub struct Obstacle {
    /// Where.
    pub path: PathBuf,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum What {
    #[error("is a symbolic link")]
    Link,
    #[error("is not a folder")]
    NoFolder,
    #[error("is not a regular file")]
    NoFile,
    #[error("has several names (hard links)")]
    Shared,
    #[error("belongs to another user (ID {0})")]
    Foreign(u32),
    #[error("leads out of its folder")]
    Outside,
    #[error("is a symbolic link that leads out of the repository, or lies behind one")]
    Escapes,
}

impl Obstacle {
    /// The obstacle that an error of this module tells of.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let path = self.path.display();
        match self.what {
            What::Link => format!(
                "remove the link {path}: links are not followed here; a state folder elsewhere is named with `--state DIR`"
            ),
            What::NoFolder | What::NoFile | What::Shared => {
                format!("remove {path}; it is made again")
            }
            What::Foreign(_) => format!(
                "run as its owner, give {path} to yourself (`chown`), or name another state folder with `--state DIR`"
            ),
            What::Escapes => {
                "put what the link leads to into the repository: what lies outside is in no commit"
                    .to_owned()
            }
            What::Outside => "name a path inside it".to_owned(),
        }
    }

    pub(super) fn error(path: PathBuf, what: What) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, Self { path, what })
    }
}
