//! The world of an end-to-end test: a repository, a home and a clock of its own, and the real binary in it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test double that cannot work fails its test at once"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A repository made from a fixture, in a scrubbed environment.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    program: PathBuf,
    variables: BTreeMap<String, String>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; a signal's number + 128 where one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output
            .status
            .code()
            .or_else(|| output.status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        Self {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// This, if the exit code is `code`.
    ///
    /// # Panics
    /// With everything that was printed, if it is another.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

impl World {
    /// A repository with the files of `fixture`, committed; `program` is the binary under test.
    ///
    /// # Panics
    /// Where the machine refuses what a test needs.
    #[must_use]
    pub fn new(program: &str, fixture: &Path) -> Self {
        let world = Self::empty(program);
        copy(fixture, &world.repository());
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world.commit("Begin");
        world
    }

    fn empty(program: &str) -> Self {
        // With a blank and more than ASCII, as in the paths of people.
        let folder = TempDir::with_prefix("shipline wörld-").expect("a temporary folder");
        let variables = BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
            (
                "HOME".to_owned(),
                folder.path().join("home").display().to_string(),
            ),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        let world = Self {
            folder,
            program: PathBuf::from(program),
            variables,
        };
        std::fs::create_dir_all(world.path("home")).expect("a home");
        world
    }

    /// A fresh clone of a repository on this machine, with the toolchains of the person who runs the tests.
    ///
    /// # Panics
    /// Where the machine refuses what a test needs.
    #[must_use]
    pub fn clone_of(program: &str, repository: &Path) -> Self {
        let mut world = Self::empty(program);
        for name in [
            "CARGO_HOME",
            "RUSTUP_HOME",
            "RUSTUP_TOOLCHAIN",
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "npm_config_registry",
        ] {
            if let Ok(value) = std::env::var(name) {
                world.variables.insert(name.to_owned(), value);
            }
        }
        if let Ok(home) = std::env::var("HOME") {
            // Toolchains and package clients are set up in the home of whoever runs the tests.
            world.variables.insert("HOME".to_owned(), home);
        }
        let mut clone = Command::new("git");
        clone
            .args(["clone", "--quiet"])
            .arg(repository)
            .arg(world.repository());
        assert!(
            clone.status().expect("git starts").success(),
            "{} can be cloned",
            repository.display()
        );
        world
    }

    /// Sets a variable for every command from now on.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A path in the world's folder.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.path("repo")
    }

    /// Writes a file of the repository.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.repository().join(relative);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::fs::write(path, text).expect("a file of the test");
    }

    /// Reads a file of the repository.
    ///
    /// # Panics
    /// Where it cannot be read.
    #[must_use]
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.repository().join(relative))
            .unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    /// Replaces a text of a file, which must be in it.
    ///
    /// # Panics
    /// Where it is not in it.
    pub fn replace(&self, relative: &str, old: &str, new: &str) {
        let text = self.read(relative);
        assert!(text.contains(old), "{relative} does not hold {old:?}");
        self.write(relative, &text.replace(old, new));
    }

    /// Runs git in the repository and gives its output, trimmed.
    ///
    /// # Panics
    /// Where it fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self
            .command("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .output()
            .expect("git starts");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Commits everything that changed, and gives the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A command in the repository with the world's environment and no input.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.repository())
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary under test to its end.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// The same with further variables.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = self
            .binary()
            .args(arguments)
            .envs(variables.iter().copied())
            .output();
        Ran::from(output.expect("the binary starts"))
    }

    /// The binary under test as a command.
    #[must_use]
    pub fn binary(&self) -> Command {
        self.command(&self.program.display().to_string())
    }

    /// Starts the binary under test with its outputs piped.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.binary()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// Waits for a started binary.
    ///
    /// # Panics
    /// Where it cannot be waited for.
    pub fn wait(&self, child: Child) -> Ran {
        Ran::from(child.wait_with_output().expect("the binary ends"))
    }
}

/// Copies a folder's files and folders, with their executable bits.
///
/// # Panics
/// Where one cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in
        std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()))
    {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copied file");
        }
    }
}
