//! Who commits, and what signs, as git's configuration says.
//!
//! Names may come from the clone's own configuration, as they do for git. What names a program, or says that one is run, counts
//! only where the person or the machine wrote it: a clone can be somebody else's.

use std::path::Path;

use git2::{Config, ConfigLevel, Repository};

use crate::plain;

/// What git's configuration says of commits. All of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `author.name`, else `user.name`.
    pub author_name: Option<String>,
    /// `author.email`, else `user.email`.
    pub author_mail: Option<String>,
    /// `committer.name`, else `user.name`.
    pub committer_name: Option<String>,
    /// `committer.email`, else `user.email`.
    pub committer_mail: Option<String>,
    /// How commits are signed, where `commit.gpgSign` says that they are.
    pub signing: Option<Signing>,
}

/// How commits are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// `gpg.format`.
    pub format: SigningFormat,
    /// The program, by name or path.
    pub program: String,
    /// `user.signingKey`.
    pub key: Option<String>,
}

/// `gpg.format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningFormat {
    /// OpenPGP, by gpg.
    OpenPgp,
    /// X.509, by gpgsm, which takes the same arguments.
    X509,
    /// SSH, by ssh-keygen.
    Ssh,
    /// One that git does not have either.
    Unknown(String),
}

impl Identity {
    /// Reads the configuration that holds in the clone at `root`, or outside of one where that is none.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        // What would be waited for says nothing.
        if plain::repository(root).is_err() {
            return Self::default();
        }
        let config = Repository::open(root)
            .and_then(|repository| repository.config())
            .or_else(|_| Config::open_default());
        match config.and_then(|mut config| config.snapshot()) {
            Ok(config) => Self::of(&config),
            Err(_) => Self::default(),
        }
    }

    fn of(config: &Config) -> Self {
        let text = |names: [&str; 2]| {
            names.iter().find_map(|name| {
                let value = config.get_string(name).ok()?;
                Some(value.trim().to_owned()).filter(|value| !value.is_empty())
            })
        };
        Self {
            author_name: text(["author.name", "user.name"]),
            author_mail: text(["author.email", "user.email"]),
            committer_name: text(["committer.name", "user.name"]),
            committer_mail: text(["committer.email", "user.email"]),
            signing: signing(config),
        }
    }
}

fn signing(config: &Config) -> Option<Signing> {
    let wanted = trusted(config, "commit.gpgsign")?;
    if !Config::parse_bool(wanted).unwrap_or(false) {
        return None;
    }
    let format = match trusted(config, "gpg.format").as_deref() {
        None | Some("openpgp") => SigningFormat::OpenPgp,
        Some("x509") => SigningFormat::X509,
        Some("ssh") => SigningFormat::Ssh,
        Some(other) => SigningFormat::Unknown(other.to_owned()),
    };
    let program = match &format {
        SigningFormat::OpenPgp => trusted(config, "gpg.openpgp.program")
            .or_else(|| trusted(config, "gpg.program"))
            .unwrap_or_else(|| "gpg".to_owned()),
        SigningFormat::X509 => {
            trusted(config, "gpg.x509.program").unwrap_or_else(|| "gpgsm".to_owned())
        }
        SigningFormat::Ssh => {
            trusted(config, "gpg.ssh.program").unwrap_or_else(|| "ssh-keygen".to_owned())
        }
        SigningFormat::Unknown(_) => String::new(),
    };
    Some(Signing {
        format,
        program,
        key: trusted(config, "user.signingkey").filter(|key| !key.is_empty()),
    })
}

/// The last value of a key that does not stand in the clone.
fn trusted(config: &Config, name: &str) -> Option<String> {
    let entries = config.multivar(name, None).ok()?;
    let mut last = None;
    // libgit2 goes from the level that counts most to that which counts least.
    let mut of_level: Option<ConfigLevel> = None;
    entries
        .for_each(|entry| {
            let level = entry.level();
            let outside = matches!(
                level,
                ConfigLevel::ProgramData
                    | ConfigLevel::System
                    | ConfigLevel::XDG
                    | ConfigLevel::Global
            );
            let stronger = of_level.is_none_or(|known| level as i32 >= known as i32);
            if outside && stronger {
                of_level = Some(level);
                // A key without a value is true.
                last = if entry.has_value() {
                    entry.value().ok().map(str::to_owned)
                } else {
                    Some("true".to_owned())
                };
            }
        })
        .ok()?;
    last
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(global: &str, local: &str) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new().unwrap();
        for (name, text, level) in [
            ("global", global, ConfigLevel::Global),
            ("local", local, ConfigLevel::Local),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            config.add_file(&path, level, false).unwrap();
        }
        Identity::of(&config.snapshot().unwrap())
    }

    #[test]
    fn names_come_from_the_clone_too() {
        let identity = config(
            "[user]\nname = Ada\nemail = ada@example.com\n[committer]\nname = Bot\n",
            "[user]\nemail = ada@work.example\n[author]\nname = Ada L\n",
        );
        assert_eq!(
            identity,
            Identity {
                author_name: Some("Ada L".into()),
                author_mail: Some("ada@work.example".into()),
                committer_name: Some("Bot".into()),
                committer_mail: Some("ada@work.example".into()),
                signing: None,
            }
        );
        assert_eq!(config("", "[user]\nname = \"\"\n"), Identity::default());
    }

    #[test]
    fn what_signs_is_named_outside_of_the_clone_only() {
        let evil = "[commit]\ngpgsign = true\n[gpg]\nprogram = ./evil\nformat = ssh\n[gpg \"ssh\"]\nprogram = ./evil\n[user]\nsigningkey = theirs\n";
        assert_eq!(config("", evil).signing, None);
        assert_eq!(config("[commit]\ngpgsign = false\n", evil).signing, None);
        assert_eq!(
            config("[commit]\ngpgsign\n", evil).signing,
            Some(Signing {
                format: SigningFormat::OpenPgp,
                program: "gpg".into(),
                key: None,
            })
        );
        let ssh = "[commit]\ngpgsign = 1\n[gpg]\nformat = ssh\n[gpg \"ssh\"]\nprogram = /bin/a\nprogram = /bin/b\n[user]\nsigningkey = ~/.ssh/id.pub\n";
        assert_eq!(
            config(ssh, evil).signing,
            Some(Signing {
                format: SigningFormat::Ssh,
                program: "/bin/b".into(),
                key: Some("~/.ssh/id.pub".into()),
            })
        );
        let check = |text: &str, format: SigningFormat, program: &str| {
            let text = format!("[commit]\ngpgsign = yes\n{text}");
            let signing = config(&text, "").signing.unwrap();
            assert_eq!(
                (signing.format, signing.program.as_str()),
                (format, program)
            );
        };
        check("[gpg]\nprogram = g\n", SigningFormat::OpenPgp, "g");
        check(
            "[gpg]\nprogram = g\n[gpg \"openpgp\"]\nprogram = o\n",
            SigningFormat::OpenPgp,
            "o",
        );
        check("[gpg]\nformat = x509\n", SigningFormat::X509, "gpgsm");
        check("[gpg]\nformat = ssh\n", SigningFormat::Ssh, "ssh-keygen");
        check(
            "[gpg]\nformat = other\n",
            SigningFormat::Unknown("other".into()),
            "",
        );
    }
}
