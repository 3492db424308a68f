//! Who may be told what. A person, and a CI that runs what is merged, hand their secrets to the configuration as it is checked
//! out. In a pull request the configuration is a proposal of whoever opened it: credentials and secrets go only where the base's
//! `pipeline.yaml` sends them too. Where nobody can tell the base, they go nowhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shipline_engine::backend::SourceRepo;
use shipline_engine::error::BackendError;
use shipline_git::{GitSource, WorkTree};
use shipline_model::config::{
    self, Config, DistributionSpec, EcrSpec, GitopsSpec, Profile, RegistrySpec, Withheld,
};
use shipline_model::name::{CommitId, ProfileName, RepoPath};
use shipline_model::value::{Template, Variables};
use shipline_oci::credentials::{CredentialSource, Credentials, Freshness};
use shipline_oci::pull::ImageReference;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_oci::registry::ecr;

use crate::ci::{BaseBranch, PullRequest, Trigger};
use crate::locking;
use crate::secrets;
use crate::session::FILE;
use crate::settings::Settings;
use crate::shown::print_error;

/// What to do where the base is not in the clone.
const FETCH: &str = "fetch the branch that it goes into, with its history (in GitHub Actions `fetch-depth: 0`, in GitLab `GIT_DEPTH: 0`)";

/// What a session's configuration is trusted with.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Everything that it names.
    Whole,
    /// What the base of the pull request names too.
    Base(Named),
}

/// What the base of a pull request names; nothing where there is none.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// The hosts that may get logins of the docker config.
    hosts: BTreeSet<String>,
    /// The profiles whose registry is the base's.
    registries: BTreeSet<ProfileName>,
    /// The profiles whose GitOps repository is the base's.
    gitops: BTreeSet<ProfileName>,
}

impl Trust {
    /// Takes from `config`, as it is checked out at `root`, what must not be given to it, and says so on standard error.
    pub(crate) fn establish(root: &Path, config: &mut Config, settings: &Settings) -> Self {
        let Trigger::PullRequest(pull_request) = &settings.trigger else {
            return Self::Whole;
        };
        let base = Base::find(root, pull_request, settings);
        let (named, config_of_base) = match &base {
            Ok(base) => (base.named(config, settings), Some(&base.config)),
            Err(_) => (Named::default(), None),
        };
        let mut notes = Notes::default();
        for profile in config.profiles.values_mut() {
            named.restrict(profile, &settings.variables, &mut notes);
        }
        let withheld = config::withhold(config, config_of_base);
        notes.say(pull_request, base.as_ref(), &withheld);
        Self::Base(named)
    }

    /// Whether the run is for something that is not merged yet.
    pub(crate) fn is_pull_request(&self) -> bool {
        match self {
            Self::Whole => false,
            Self::Base(_) => true,
        }
    }

    /// Whether the profile's registry may get its login.
    pub(crate) fn registry(&self, profile: &ProfileName) -> bool {
        match self {
            Self::Whole => true,
            Self::Base(named) => named.registries.contains(profile),
        }
    }

    /// Logins for the hosts that may get them.
    pub(crate) fn logins(&self, source: Arc<dyn CredentialSource>) -> Arc<dyn CredentialSource> {
        match self {
            Self::Whole => source,
            Self::Base(named) => Arc::new(TrustedLogins {
                hosts: named.hosts.clone(),
                source,
                told: Mutex::default(),
            }),
        }
    }
}

impl Named {
    /// Takes the credentials of remotes out of a profile that the base does not name alike, or that are not there.
    fn restrict(&self, profile: &mut Profile, variables: &Variables, notes: &mut Notes) {
        let is_there = |template: &Template| template.resolve(variables).is_ok();
        match &mut profile.registry {
            RegistrySpec::Layout { path: _ } => {}
            RegistrySpec::Distribution(spec) => {
                notes.remote = true;
                let trusted = self.registries.contains(&profile.name);
                if !trusted && spec.login.is_some() {
                    notes.push(&profile.name, "login", "registry");
                }
                // A pull request of a fork gets no secrets from its CI: it pulls as nobody.
                spec.login = spec.login.take().filter(|login| {
                    trusted && is_there(&login.username) && is_there(&login.password)
                });
            }
            RegistrySpec::Ecr(_) => {
                notes.remote = true;
                if !self.registries.contains(&profile.name) {
                    notes.push(&profile.name, "AWS identity", "registry");
                }
            }
        }
        match &mut profile.gitops {
            None
            | Some(GitopsSpec::Local {
                path: _,
                seed: _,
                branch: _,
            }) => {}
            Some(GitopsSpec::Remote {
                url: _,
                branch: _,
                token,
                key,
                known_hosts: _,
            }) => {
                notes.remote = true;
                let trusted = self.gitops.contains(&profile.name);
                for (name, secret) in [("token", token), ("key", key)] {
                    if !trusted && secret.is_some() {
                        notes.push(&profile.name, name, "GitOps repository");
                    }
                    *secret = secret.take().filter(|secret| trusted && is_there(secret));
                }
            }
        }
    }
}

/// The base of a pull request, with its configuration.
struct Base {
    commit: CommitId,
    source: GitSource,
    config: Config,
}

impl Base {
    /// Finds it, or says why there is none.
    fn find(root: &Path, pull_request: &PullRequest, settings: &Settings) -> Result<Self, String> {
        if let BaseBranch::Odd(told) = &pull_request.branch {
            return Err(format!(
                "`{told}`, into which it is said to go, is the name of no branch"
            ));
        }
        let source = GitSource::open(root, WorkTree::KnownClean, settings.faults.clone())
            .map_err(|error| error.to_string())?;
        if source.root().canonicalize().ok() != root.canonicalize().ok() || is_submodule(root) {
            // The CI's words are about another repository.
            return Err(format!(
                "{} is not the root of its repository",
                root.display()
            ));
        }
        let names = pull_request.trusted_names();
        let commit = names
            .iter()
            .find_map(|name| source.resolve(name).ok())
            .ok_or_else(|| {
                format!(
                    "its base ({}) is not in this clone; {FETCH}",
                    names.join(", ")
                )
            })?;
        let path = RepoPath::new(FILE).map_err(|error| error.to_string())?;
        let short = commit.short().to_owned();
        let bytes = source
            .read_at(&commit, &path)
            .map_err(|error| format!("{FILE} of its base {short} cannot be read: {error}"))?
            .ok_or_else(|| format!("its base {short} has no {FILE}"))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("{FILE} of its base {short} is not UTF-8"))?;
        // What it calls a secret is one, also where the pull request does not say so any more.
        secrets::know(&text, settings);
        let config = config::load(FILE, &text)
            .map_err(|_| format!("{FILE} of its base {short} does not pass `config show`"))?;
        secrets::know(&config::show(&config), settings);
        Ok(Self {
            commit,
            source,
            config,
        })
    }

    /// What of the head's configuration it names too.
    fn named(&self, head: &Config, settings: &Settings) -> Named {
        let mut named = Named {
            hosts: self.hosts(&settings.variables),
            ..Named::default()
        };
        for profile in head.profiles.values() {
            let Some(base) = self.config.profiles.get(&profile.name) else {
                continue;
            };
            if base.registry == profile.registry {
                named.registries.insert(profile.name.clone());
            }
            if base.gitops == profile.gitops {
                named.gitops.insert(profile.name.clone());
            }
        }
        named
    }

    /// The registries that the base's profiles and Dockerfiles name. Those that cannot be told are not among them.
    fn hosts(&self, variables: &Variables) -> BTreeSet<String> {
        let text =
            |template: &Template| Some(template.resolve(variables).ok()?.expose().to_owned());
        let host = |address: &str, security| {
            let address = RegistryAddress::parse(address, security).ok()?;
            Some(address.host)
        };
        let mut hosts = BTreeSet::new();
        for profile in self.config.profiles.values() {
            match &profile.registry {
                RegistrySpec::Layout { path: _ } => {}
                RegistrySpec::Distribution(DistributionSpec { url, .. }) => {
                    hosts.extend(text(url).and_then(|url| host(&url, Security::Waived)));
                }
                RegistrySpec::Ecr(EcrSpec {
                    account, region, ..
                }) => {
                    hosts.insert(ecr::host(account, region));
                }
            }
            for (registry, mirror) in &profile.mirrors {
                hosts.extend(host(registry, Security::Required));
                hosts.extend(text(mirror).and_then(|mirror| host(&mirror, Security::Required)));
            }
        }
        for component in self.config.components.values() {
            let Some(image) = &component.image else {
                continue;
            };
            let dockerfile = self.source.read_at(&self.commit, &image.dockerfile);
            let images = dockerfile
                .ok()
                .flatten()
                .and_then(|bytes| locking::bases(image, &bytes, variables));
            let cached = image.cache_from.iter().filter_map(text);
            hosts.extend(
                images
                    .into_iter()
                    .flatten()
                    .chain(cached)
                    .filter_map(|image| Some(image.parse::<ImageReference>().ok()?.host)),
            );
        }
        hosts
    }
}

/// Whether the folder is a submodule: what is its origin stands in a file of the repository around it.
fn is_submodule(root: &Path) -> bool {
    let link = root.join(".git");
    link.is_file() && std::fs::read_to_string(link).is_ok_and(|text| text.contains(".git/modules/"))
}

/// What is said of the things that are withheld.
#[derive(Default)]
struct Notes {
    remotes: Vec<String>,
    /// Whether a profile has a remote at all.
    remote: bool,
}

impl Notes {
    fn push(&mut self, profile: &ProfileName, what: &str, remote: &str) {
        self.remotes.push(format!(
            "the {what} for the {remote} of profile `{profile}`"
        ));
    }

    fn say(
        mut self,
        pull_request: &PullRequest,
        base: Result<&Base, &String>,
        withheld: &[Withheld],
    ) {
        let called = pull_request.called;
        self.remotes.extend(
            withheld
                .iter()
                .map(|withheld| format!("{} from {}", withheld.variable, withheld.place)),
        );
        let what = self.remotes.join(", ");
        match base {
            Ok(base) if !what.is_empty() => print_error(&format!(
                "note: {FILE} of this {called} differs from its base {}, so withheld is: {what}\n",
                base.commit.short()
            )),
            Ok(_) => {}
            Err(why) if !what.is_empty() || self.remote => {
                let what = if what.is_empty() {
                    "logins of the docker config".to_owned()
                } else {
                    what
                };
                print_error(&format!(
                    "note: nothing of this {called} is trusted: {why}\nnote: withheld is: {what}\n"
                ));
            }
            Err(_) => {}
        }
    }
}

/// Logins for some hosts only.
#[derive(Debug)]
struct TrustedLogins {
    hosts: BTreeSet<String>,
    source: Arc<dyn CredentialSource>,
    /// The hosts of which it was said that they get none.
    told: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl CredentialSource for TrustedLogins {
    async fn credentials(
        &self,
        host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        if self.hosts.contains(host) {
            return self.source.credentials(host, freshness).await;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(host.to_owned()) {
            print_error(&format!(
                "note: {host} is asked as nobody: the base of this pull request does not name it\n"
            ));
        }
        Ok(Credentials::Anonymous)
    }
}
