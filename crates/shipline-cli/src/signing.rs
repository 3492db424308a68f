//! Commits by hand: who makes them, and the program that signs them, as git's configuration says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_git::{Identity, Signing, SigningFormat};
use shipline_gitops::CommitSigner;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;

use crate::error::CommandError;
use crate::session::Session;
use crate::settings::Settings;

/// How long a program may take to sign: some of them ask a person for a passphrase or a touch.
const LIMIT: Duration = Duration::from_secs(300);

/// Who makes a commit by hand.
pub(crate) struct Person {
    /// `Name <mail>`; Shipline's own name where git's configuration has none.
    pub(crate) author: Option<String>,
    /// `Name <mail>`.
    pub(crate) committer: Option<String>,
    /// What signs.
    pub(crate) signer: Option<Arc<dyn CommitSigner>>,
}

impl Person {
    /// Reads the environment and git's configuration, in git's own order.
    pub(crate) fn of(session: &Session, settings: &Settings) -> Result<Self, CommandError> {
        let identity = Identity::read(&session.root);
        let variable = |name: &str| {
            let value = settings.variables.get(name)?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let who = |name: Option<String>, mail: Option<String>| {
            let clean = |text: String| text.replace(['<', '>', '\n', '\0'], "");
            Some(format!("{} <{}>", clean(name?), clean(mail?)))
        };
        let author = who(
            variable("GIT_AUTHOR_NAME").or(identity.author_name),
            variable("GIT_AUTHOR_EMAIL").or(identity.author_mail),
        );
        let committer = who(
            variable("GIT_COMMITTER_NAME").or(identity.committer_name),
            variable("GIT_COMMITTER_EMAIL").or(identity.committer_mail),
        );
        let signer = match identity.signing {
            Some(signing) => Some(Arc::new(ProgramSigner::new(
                signing,
                committer.as_deref(),
                session,
                settings,
            )?) as Arc<dyn CommitSigner>),
            None => None,
        };
        Ok(Self {
            author,
            committer,
            signer,
        })
    }
}

/// Signs with the program that the person's own configuration of git names.
#[derive(Debug)]
struct ProgramSigner {
    program: String,
    format: Format,
    environment: BTreeMap<String, String>,
    /// Where a key may be written that the program wants as a file.
    folder: PathBuf,
    runtime: Handle,
}

#[derive(Debug)]
enum Format {
    /// gpg or gpgsm, with the key's name.
    Gpg(String),
    /// ssh-keygen, with the key's file.
    SshFile(String),
    /// ssh-keygen, with a public key whose other half an agent has.
    SshAgent(String),
}

impl ProgramSigner {
    fn new(
        signing: Signing,
        committer: Option<&str>,
        session: &Session,
        settings: &Settings,
    ) -> Result<Self, CommandError> {
        let no_key = || {
            CommandError::usage("git's configuration signs commits, and names no key")
                .hint("set user.signingKey, or run git config --global commit.gpgSign false")
        };
        let home = || {
            settings
                .variables
                .get("HOME")
                .unwrap_or_default()
                .to_owned()
        };
        let format = match signing.format {
            SigningFormat::OpenPgp | SigningFormat::X509 => Format::Gpg(
                signing
                    .key
                    .or_else(|| committer.map(str::to_owned))
                    .ok_or_else(no_key)?,
            ),
            SigningFormat::Ssh => {
                let key = signing.key.ok_or_else(no_key)?;
                match key.strip_prefix("key::") {
                    Some(literal) => Format::SshAgent(literal.to_owned()),
                    None if key.starts_with("ssh-") => Format::SshAgent(key),
                    None => Format::SshFile(match key.strip_prefix("~/") {
                        Some(rest) => format!("{}/{rest}", home()),
                        None => key,
                    }),
                }
            }
            SigningFormat::Unknown(format) => {
                return Err(CommandError::usage(format!(
                    "git's configuration signs commits as `{format}`, which is unknown"
                ))
                .hint("set gpg.format to openpgp, x509 or ssh"));
            }
        };
        let program = match signing.program.strip_prefix("~/") {
            Some(rest) => format!("{}/{rest}", home()),
            None => signing.program,
        };
        Ok(Self {
            program,
            format,
            environment: settings.helper_environment.clone(),
            folder: settings.temporary.clone(),
            runtime: session.runtime()?.handle().clone(),
        })
    }

    fn failed(&self, class: ErrorClass) -> BackendError {
        BackendError::new(class, format!("sign the commit with `{}`", self.program))
            .hint("does `git commit -S` work here? it runs the same program")
    }

    /// Gives standard output and error of the program, if it succeeds.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<(String, String), BackendError> {
        let unavailable =
            |error: std::io::Error| self.failed(ErrorClass::Unavailable).because(error);
        let running = async {
            #[expect(
                clippy::disallowed_methods,
                reason = "it reads the commit from standard input and must end before anything else"
            )]
            let mut command = tokio::process::Command::new(&self.program);
            let mut child = command
                .args(arguments)
                .env_clear()
                .envs(&self.environment)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(unavailable)?;
            if let Some(mut commit) = child.stdin.take() {
                // One that does not read it fails by itself.
                let _ = commit.write_all(input).await;
            }
            let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
            let Ok(output) = output else {
                let late = format!("it did not end within {} s", LIMIT.as_secs());
                return Err(self.failed(ErrorClass::Unavailable).because(late));
            };
            let output = output.map_err(unavailable)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                let lines: Vec<&str> = said.lines().take(10).collect();
                let cause = format!("{}: {}", output.status, lines.join("; "));
                return Err(self.failed(ErrorClass::Failed).because(cause));
            }
            let signature = String::from_utf8_lossy(&output.stdout).replace('\r', "");
            Ok((signature, said))
        };
        self.runtime.block_on(running)
    }

    fn ssh(&self, key: &str, more: &[&str], commit: &[u8]) -> Result<String, BackendError> {
        let mut arguments = vec!["-Y", "sign", "-n", "git", "-f", key];
        arguments.extend(more);
        Ok(self.run(&arguments, commit)?.0)
    }
}

impl CommitSigner for ProgramSigner {
    fn sign(&self, commit: &[u8]) -> Result<String, BackendError> {
        let signature = match &self.format {
            Format::Gpg(key) => {
                let (signature, said) =
                    self.run(&["--status-fd=2", "-bsau", key.as_str()], commit)?;
                if !said
                    .lines()
                    .any(|line| line.starts_with("[GNUPG:] SIG_CREATED "))
                {
                    let cause = "it does not say that it made a signature";
                    return Err(self.failed(ErrorClass::Failed).because(cause));
                }
                signature
            }
            Format::SshFile(key) => self.ssh(key, &[], commit)?,
            Format::SshAgent(literal) => {
                let file = KeyFile::write(&self.folder, literal)
                    .map_err(|error| self.failed(ErrorClass::Failed).because(error))?;
                self.ssh(&file.0.display().to_string(), &["-U"], commit)?
            }
        };
        if signature.trim().is_empty() {
            let cause = "it gave no signature";
            return Err(self.failed(ErrorClass::Failed).because(cause));
        }
        Ok(signature)
    }
}

/// A public key as a file, for as long as this lives.
struct KeyFile(PathBuf);

impl KeyFile {
    fn write(folder: &Path, literal: &str) -> std::io::Result<Self> {
        use std::io::Write as _;
        let path = folder.join(format!("shipline-signing-{}.pub", std::process::id()));
        // Whatever is there already is not ours.
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let written = Self(path);
        file.write_all(literal.as_bytes())?;
        file.write_all(b"\n")?;
        Ok(written)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // It holds nothing secret.
        let _ = std::fs::remove_file(&self.0);
    }
}
