//! What a platform publishes to in earnest: a registry behind HTTP and a GitOps repository behind a URL, both kept in folders of
//! their own outside of the world that uses them, and looked at without the client under test.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test double that cannot work fails its test at once"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::ecr::{FakeEcr, Mutability, Options};
use crate::git_server::GitServer;
use crate::service::{DockerRegistry, RegistryAccess};
use crate::world::{World, copy};

/// The fake ECR and the threads that serve it.
#[derive(Debug)]
pub struct Ecr {
    fake: FakeEcr,
    _runtime: Runtime,
}

impl Ecr {
    /// The account's registry, as images name it.
    pub const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    /// Credentials by environment, and no question to instance metadata.
    pub const LOGIN: &[(&str, &str)] = &[
        ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
        ("AWS_SECRET_ACCESS_KEY", "of-the-tests"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];

    /// One with these repositories, whose tags are immutable.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(repositories: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let fake = runtime
            .block_on(FakeEcr::start(Options::default()))
            .unwrap();
        for repository in repositories {
            fake.create(repository, Mutability::Immutable);
        }
        Self {
            fake,
            _runtime: runtime,
        }
    }

    /// The fake.
    #[must_use]
    pub fn fake(&self) -> &FakeEcr {
        &self.fake
    }

    /// `registry:` of a profile.
    #[must_use]
    pub fn spec(&self) -> String {
        let url = self.fake.url();
        format!(
            "{{ ecr: {{ account: \"123456789012\", region: us-east-1, endpoint: \"{url}\", registry_endpoint: \"{url}\" }} }}"
        )
    }
}

/// A registry behind HTTP.
#[derive(Debug)]
pub enum RemoteRegistry {
    /// The fake ECR.
    Ecr(Ecr),
    /// A protected `docker-registry`, in which all repositories are below `team/`.
    Docker(DockerRegistry),
}

impl RemoteRegistry {
    /// A protected `docker-registry`; `None`, and a line that says so, where it is not installed.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    #[must_use]
    pub fn docker() -> Option<Self> {
        let registry = DockerRegistry::start(RegistryAccess::Protected).unwrap();
        registry.map(Self::Docker)
    }

    /// `registry:` of a profile.
    #[must_use]
    pub fn spec(&self) -> String {
        match self {
            Self::Ecr(ecr) => ecr.spec(),
            Self::Docker(registry) => format!(
                "{{ url: \"{}/team\", ca: \"{}\", username: {}, password: \"${{secret.REGISTRY_PASSWORD}}\" }}",
                registry.host(),
                registry.ca().display(),
                DockerRegistry::USER
            ),
        }
    }

    /// The variables that a run needs to log in.
    #[must_use]
    pub fn login(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ecr(_) => Ecr::LOGIN,
            Self::Docker(_) => &[("REGISTRY_PASSWORD", DockerRegistry::PASSWORD)],
        }
    }

    /// What stands before the repository in an image's name.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self {
            Self::Ecr(_) => Ecr::HOST.to_owned(),
            Self::Docker(registry) => format!("{}/team", registry.host()),
        }
    }

    /// `repository:tag` → digest.
    ///
    /// # Panics
    /// Where what the registry keeps cannot be read.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        match self {
            Self::Ecr(ecr) => {
                let named = |name: String| {
                    let (repository, tag) = name.split_once(':')?;
                    let digest = ecr.fake.tag(repository, tag)?;
                    Some((name, digest))
                };
                ecr.fake.all_tags().into_iter().filter_map(named).collect()
            }
            Self::Docker(registry) => kept::tags(registry.directory()),
        }
    }

    /// Whether a repository has the image, manifest, config and all layers.
    #[must_use]
    pub fn holds(&self, repository: &str, digest: &str) -> bool {
        match self {
            Self::Ecr(ecr) => ecr.fake.holds(repository, digest),
            Self::Docker(registry) => kept::holds(registry.directory(), repository, digest),
        }
    }

    /// Tags whose images are not whole. Empty: all is well.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut broken = match self {
            Self::Ecr(ecr) => ecr.fake.broken(),
            Self::Docker(_) => Vec::new(),
        };
        broken.extend(
            self.tags()
                .iter()
                .filter(|(name, digest)| {
                    let repository = name.split(':').next().unwrap_or_default();
                    !self.holds(repository, digest)
                })
                .map(|(name, digest)| format!("{name} names {digest}, which is not whole")),
        );
        broken
    }
}

/// What a `docker-registry` keeps in its folder, as any reader of it would find it at that instant.
mod kept {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn root(directory: &Path) -> PathBuf {
        directory.join("data/docker/registry/v2")
    }

    fn hex(digest: &str) -> &str {
        digest.trim_start_matches("sha256:")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    pub(super) fn tags(directory: &Path) -> BTreeMap<String, String> {
        let team = root(directory).join("repositories/team");
        let mut tags = BTreeMap::new();
        for repository in names(&team) {
            let folder = team.join(&repository).join("_manifests/tags");
            // Where documents about an image are listed (distribution specification, referrers tag schema) is no tag of one.
            let images = |tag: &String| !tag.starts_with("sha256-");
            for tag in names(&folder).into_iter().filter(images) {
                // A tag without a link is one that is just being made.
                if let Ok(digest) = fs::read_to_string(folder.join(&tag).join("current/link")) {
                    tags.insert(format!("{repository}:{tag}"), digest);
                }
            }
        }
        tags
    }

    pub(super) fn holds(directory: &Path, repository: &str, digest: &str) -> bool {
        let folder = root(directory).join("repositories/team").join(repository);
        let blob = |digest: &str| {
            let hex = hex(digest);
            root(directory)
                .join("blobs/sha256")
                .join(hex.get(..2).unwrap_or_default())
                .join(hex)
                .join("data")
        };
        let revision = folder.join("_manifests/revisions/sha256").join(hex(digest));
        let manifest = fs::read(blob(digest)).unwrap_or_default();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let Some(layers) = manifest["layers"].as_array() else {
            return false;
        };
        revision.join("link").exists()
            && layers.iter().chain([&manifest["config"]]).all(|part| {
                let digest = part["digest"].as_str().unwrap_or_default();
                let size = fs::metadata(blob(digest)).map(|data| data.len());
                let linked = folder.join("_layers/sha256").join(hex(digest)).join("link");
                size.is_ok_and(|size| Some(size) == part["size"].as_u64()) && linked.exists()
            })
    }
}

/// A GitOps repository behind a URL.
#[derive(Debug)]
pub struct RemoteGitops {
    /// The server.
    pub server: GitServer,
    folder: TempDir,
}

impl RemoteGitops {
    /// Serves a bare repository whose first commit holds the files of `seed`.
    ///
    /// # Panics
    /// Where git refuses.
    #[must_use]
    pub fn start(world: &World, seed: &Path) -> Self {
        let folder = TempDir::with_prefix("shipline-gitops-").unwrap();
        let files = folder.path().join("seed");
        copy(seed, &files);
        let files = files.display().to_string();
        let bare = folder.path().join("gitops.git").display().to_string();
        world.git(&["-C", &files, "init", "--quiet", "--initial-branch=main"]);
        world.git(&["-C", &files, "add", "--all"]);
        world.git(&["-C", &files, "commit", "--quiet", "--message", "Begin"]);
        world.git(&["clone", "--quiet", "--bare", &files, &bare]);
        // A clean-up in the background would be a process of its own.
        world.git(&["-C", &bare, "config", "receive.autogc", "false"]);
        Self {
            server: GitServer::start(folder.path()).unwrap(),
            folder,
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url("gitops.git")
    }

    /// The bare repository on disk.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("gitops.git")
    }

    /// Runs git on the bare repository.
    pub fn git(&self, world: &World, arguments: &[&str]) -> String {
        let bare = self.path().display().to_string();
        let mut all = vec!["--git-dir", &bare];
        all.extend(arguments);
        world.git(&all)
    }

    /// Commits on the branch, the first one included.
    ///
    /// # Panics
    /// Where there is no branch.
    #[must_use]
    pub fn commits(&self, world: &World) -> usize {
        let count = self.git(world, &["rev-list", "--count", "main"]);
        count.parse().unwrap()
    }

    /// The image that staging declares for a component.
    ///
    /// # Panics
    /// Where it declares none.
    #[must_use]
    pub fn declared(&self, world: &World, component: &str) -> String {
        let file = format!("main:staging/{component}/deployment.yaml");
        let text = self.git(world, &["show", &file]);
        let line = text.lines().find(|line| line.contains("image: ")).unwrap();
        let image = line.trim().trim_start_matches("image: ");
        image.split(' ').next().unwrap().to_owned()
    }
}
