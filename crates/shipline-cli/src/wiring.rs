//! The one place where settings and configuration become backends.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shipline_engine::backend::{
    AskedOnce, GitopsRepo, ImageBuilder, ImageReader, ImageStore, Registry, SourceRepo,
};
use shipline_engine::error::ErrorClass;
use shipline_engine::folder::{Obstacle, Place};
use shipline_git::{GitSource, Memory, WorkTree};
use shipline_gitops::{
    CommitSigner, LocalGitops, LocalSettings, Location, RemoteGitops, RemoteSettings,
};
use shipline_http::{BlockingClient, HttpExchange, HttpSettings, Peer, Proxies, RetryPolicy};
use shipline_model::config::{
    DistributionSpec, EcrSpec, GitopsSpec, Login, Profile, RegistrySpec, did_you_mean,
};
use shipline_model::name::ProfileName;
use shipline_model::stage_kind::Nature;
use shipline_model::value::{Secret, Template};
use shipline_oci::build::docker::{DockerBuilder, DockerSettings, Wanted};
use shipline_oci::build::{Builders, EmbeddedBuilder};
use shipline_oci::credentials::{CredentialSource, Credentials, DockerConfig};
use shipline_oci::pull::{Pins, PullSettings, RegistryImages};
use shipline_oci::registry::LayoutRegistry;
use shipline_oci::registry::distribution::{DistributionRegistry, RegistryAddress, Security};
use shipline_oci::registry::ecr::{
    AwsIdentity, EcrRegistry, EcrSettings, InstanceMetadata, MissingRepositories,
};
use shipline_oci::store::LayoutStore;
use shipline_scan::StoreReader;

use sha2::{Digest as _, Sha256};

use crate::error::{CommandError, ErrorKind};
use crate::helpers::Helpers;
use crate::logins::Logins;
use crate::nogitops::NoGitops;
use crate::planning::{Asking, Selected};
use crate::session::Session;
use crate::settings::Settings;
use crate::shown::print_error;
use crate::ssh::SshExchange;
use crate::waiting::{PATIENCE, Waiting};

/// How long a deployment commit is tried while other writers move the branch.
const GITOPS_DEADLINE: Duration = Duration::from_secs(120);

/// Bytes that one fetch from a GitOps repository may bring.
const GITOPS_PACK: u64 = 1024 * 1024 * 1024;

/// The repository of the sources. Its root must be that of the session: paths of pipeline.yaml are paths of the repository.
pub(crate) fn source(
    session: &Session,
    settings: &Settings,
    waiting: &Waiting,
) -> Result<Arc<dyn SourceRepo>, CommandError> {
    let source = GitSource::open(&session.root, WorkTree::Scan, settings.faults.clone());
    let source = source.map_err(|error| {
        let no_repository = error.class == ErrorClass::NotFound;
        let mut error = CommandError::from(error);
        if no_repository {
            error.kind = ErrorKind::Usage;
        }
        error
    })?;
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if canonical(source.root()) != canonical(&session.root) {
        return Err(CommandError::usage(format!(
            "pipeline.yaml stands in {}, and the root of its git repository is {}",
            session.root.display(),
            source.root().display()
        ))
        .hint("move pipeline.yaml to the root of the repository: its paths are paths of the repository"));
    }
    Ok(Arc::new(source.remembering(Memory {
        file: Some(session.state().join("cache/files")),
        telling: Some(waiting.telling()),
    })))
}

/// What says on standard error what a command waits for.
pub(crate) fn waiting() -> Waiting {
    Waiting::new(PATIENCE, |what| print_error(&format!("note: {what}\n")))
}

/// The image store of a clone.
pub(crate) fn store(
    session: &Session,
    settings: &Settings,
) -> Result<Arc<dyn ImageStore>, CommandError> {
    Ok(Arc::new(layout_store(session, settings)?))
}

/// The same for a look: nothing is made or removed.
pub(crate) fn store_as_it_is(session: &Session, settings: &Settings) -> LayoutStore {
    LayoutStore::as_it_is(session.state().join("store"), settings.faults.clone())
}

/// The same as the layout directory that it is.
pub(crate) fn layout_store(
    session: &Session,
    settings: &Settings,
) -> Result<LayoutStore, CommandError> {
    Ok(LayoutStore::open(
        session.state().join("store"),
        settings.faults.clone(),
    )?)
}

/// Where base images come from: registries, asked with the docker config's logins, by the mirrors of the profile.
pub(crate) fn base_images(
    session: &Session,
    profile: &Profile,
    pins: Pins,
    settings: &Settings,
) -> Result<RegistryImages, CommandError> {
    let mut mirrors = BTreeMap::new();
    for (host, address) in &profile.mirrors {
        let address = resolve(address, settings)?;
        if !address.is_empty() {
            let host = RegistryAddress::parse(host, Security::Required)?.host;
            mirrors.insert(host, RegistryAddress::parse(&address, Security::Required)?);
        }
    }
    let roots = match &profile.registry {
        RegistrySpec::Distribution(DistributionSpec { ca: Some(ca), .. })
        | RegistrySpec::Ecr(EcrSpec { ca: Some(ca), .. }) => {
            vec![certificates(session, ca, settings)?]
        }
        RegistrySpec::Distribution(_) | RegistrySpec::Layout { .. } | RegistrySpec::Ecr(_) => {
            Vec::new()
        }
    };
    let others = docker_config(session, settings);
    let credentials: Arc<dyn CredentialSource> = match own_login(session, profile, settings)? {
        Some((host, own)) => {
            if let RegistrySpec::Ecr(EcrSpec {
                registry_endpoint: Some(endpoint),
                ..
            }) = &profile.registry
            {
                // Images keep the account's host in their names, wherever it is.
                let mut address =
                    RegistryAddress::parse(&resolve(endpoint, settings)?, Security::Required)?;
                address.host.clone_from(&host);
                mirrors.entry(host.clone()).or_insert(address);
            }
            Arc::new(Logins { host, own, others })
        }
        None => others,
    };
    let pull = PullSettings {
        http: http(session, settings, roots)?,
        credentials,
        retries: RetryPolicy::default(),
        mirrors,
        records: base_records(session),
    };
    Ok(RegistryImages::new(pull, pins))
}

/// A registry's host and its login.
type OwnLogin = (String, Arc<dyn CredentialSource>);

/// The login of the profile's own registry: base images often lie beside those that are built on them.
fn own_login(
    session: &Session,
    profile: &Profile,
    settings: &Settings,
) -> Result<Option<OwnLogin>, CommandError> {
    match &profile.registry {
        RegistrySpec::Layout { .. } => Ok(None),
        RegistrySpec::Distribution(spec) => match &spec.login {
            Some(login) => {
                let address = distribution_address(spec, settings)?;
                Ok(Some((address.host, Arc::new(given(login, settings)?))))
            }
            None => Ok(None),
        },
        RegistrySpec::Ecr(_) if !session.trust.registry(&profile.name) => Ok(None),
        RegistrySpec::Ecr(spec) => {
            let registry = ecr(session, profile, spec, settings)?;
            Ok(Some((
                registry.host().to_owned(),
                Arc::new(registry.login()),
            )))
        }
    }
}

fn given(login: &Login, settings: &Settings) -> Result<Credentials, CommandError> {
    Ok(Credentials::Login {
        username: resolve(&login.username, settings)?,
        password: Secret::new(resolve(&login.password, settings)?),
    })
}

fn distribution_address(
    spec: &DistributionSpec,
    settings: &Settings,
) -> Result<RegistryAddress, CommandError> {
    let security = if spec.insecure {
        Security::Waived
    } else {
        Security::Required
    };
    Ok(RegistryAddress::parse(
        &resolve(&spec.url, settings)?,
        security,
    )?)
}

/// Where it is recorded what base images resolved to.
pub(crate) fn base_records(session: &Session) -> Place {
    session.state().join("cache/bases")
}

/// The builders of a clone.
pub(crate) fn builder(
    session: &Session,
    profile: &Profile,
    pins: Pins,
    settings: &Settings,
) -> Result<Arc<dyn ImageBuilder>, CommandError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bases = Arc::new(base_images(session, profile, pins, settings)?);
    let embedded = EmbeddedBuilder::new(session.state().join("cache/layers"), threads)
        .with_bases(bases.clone());
    let docker = DockerBuilder::new(docker(settings), session.state().join("cache"), threads)
        .with_logins(bases.logins())
        .with_bases(bases);
    Ok(Arc::new(Builders::new(embedded, Some(Arc::new(docker)))))
}

/// What is known of engines on this machine. Nothing is asked before a Dockerfile needs one.
fn docker(settings: &Settings) -> DockerSettings {
    let variable = |name: &str| {
        settings
            .variables
            .get(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    DockerSettings {
        host: variable("DOCKER_HOST"),
        context: variable("DOCKER_CONTEXT"),
        config_folder: settings.docker_config.clone(),
        home: variable("HOME").map(PathBuf::from),
        runtime_folder: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
        wanted: if variable("DOCKER_BUILDKIT").as_deref() == Some("0") {
            Wanted::Classic
        } else {
            Wanted::Best
        },
    }
}

/// A file of certificates: of the repository, or elsewhere where its path says so and not a link.
fn certificates(
    session: &Session,
    ca: &Template,
    settings: &Settings,
) -> Result<PathBuf, CommandError> {
    let ca = resolve(ca, settings)?;
    let path = Path::new(&ca);
    let below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.components().all(below) {
        session.place(&ca)?;
    }
    Ok(session.root.join(path))
}

/// The registry as far as a pipeline needs one: what builds nothing asks none, and needs none of its variables.
pub(crate) fn registry_of(
    session: &Session,
    selected: &Selected<'_>,
    settings: &Settings,
) -> Result<Arc<dyn Registry>, CommandError> {
    if selected.pipeline.has(Nature::makes_images) {
        registry(session, selected.profile, settings)
    } else {
        let path = session.state().join("registry");
        Ok(Arc::new(LayoutRegistry::new(path, settings.faults.clone())))
    }
}

/// The registry of a profile.
pub(crate) fn registry(
    session: &Session,
    profile: &Profile,
    settings: &Settings,
) -> Result<Arc<dyn Registry>, CommandError> {
    match &profile.registry {
        RegistrySpec::Layout { path } => Ok(Arc::new(LayoutRegistry::new(
            session.place(path.as_str())?,
            settings.faults.clone(),
        ))),
        RegistrySpec::Distribution(spec) => distribution(session, spec, settings),
        RegistrySpec::Ecr(spec) => Ok(ecr(session, profile, spec, settings)?),
    }
}

fn ecr(
    session: &Session,
    profile: &Profile,
    spec: &EcrSpec,
    settings: &Settings,
) -> Result<Arc<EcrRegistry>, CommandError> {
    session.parts.ecr(&profile.name, || {
        make_ecr(session, profile, spec, settings).map(Arc::new)
    })
}

fn make_ecr(
    session: &Session,
    profile: &Profile,
    spec: &EcrSpec,
    settings: &Settings,
) -> Result<EcrRegistry, CommandError> {
    let optional = |template: &Option<Template>| {
        template
            .as_ref()
            .map(|template| resolve(template, settings))
            .transpose()
    };
    let variable = |name: &str| {
        settings
            .variables
            .get(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let identity = match (optional(&spec.role)?, &settings.github_oidc) {
        _ if !session.trust.registry(&profile.name) => AwsIdentity::Withheld,
        (Some(role), Some(oidc)) => AwsIdentity::GithubActions {
            url: oidc.url.clone(),
            token: Secret::new(oidc.token.clone()),
            role,
        },
        (Some(_) | None, _) => AwsIdentity::Ambient {
            // aws-config knows AWS_PROFILE itself, and where it stands behind keys in the environment.
            profile: None,
            // On a machine of AWS's the metadata can be asked for; elsewhere asking only costs seconds.
            metadata: match variable("SHIPLINE_AWS_INSTANCE_METADATA").as_deref() {
                Some("1") => InstanceMetadata::Asked,
                Some(_) | None => InstanceMetadata::Absent,
            },
        },
    };
    let ecr = EcrSettings {
        account: spec.account.clone(),
        region: spec.region.clone(),
        missing: if spec.create_repositories {
            MissingRepositories::Created
        } else {
            MissingRepositories::Refused
        },
        identity,
        endpoint: optional(&spec.endpoint)?,
        sts_endpoint: variable("AWS_ENDPOINT_URL_STS"),
        registry_endpoint: optional(&spec.registry_endpoint)?,
    };
    let roots = match &spec.ca {
        Some(ca) => vec![certificates(session, ca, settings)?],
        None => Vec::new(),
    };
    let registry = EcrRegistry::new(
        ecr,
        http(session, settings, roots)?,
        RetryPolicy::default(),
        settings.faults.clone(),
    );
    Ok(session.runtime()?.block_on(registry)?)
}

fn distribution(
    session: &Session,
    spec: &DistributionSpec,
    settings: &Settings,
) -> Result<Arc<dyn Registry>, CommandError> {
    let address = distribution_address(spec, settings)?;
    let roots = match &spec.ca {
        Some(ca) => vec![certificates(session, ca, settings)?],
        None => Vec::new(),
    };
    let credentials: Arc<dyn CredentialSource> = match &spec.login {
        Some(login) => Arc::new(given(login, settings)?),
        None => docker_config(session, settings),
    };
    let http = http(session, settings, roots)?;
    Ok(Arc::new(DistributionRegistry::new(
        address,
        http,
        credentials,
        RetryPolicy::default(),
        settings.faults.clone(),
    )))
}

fn docker_config(session: &Session, settings: &Settings) -> Arc<dyn CredentialSource> {
    session
        .parts
        .docker_config(|| match &settings.docker_config {
            Some(folder) => {
                let helpers = Arc::new(Helpers::outside_of(
                    &session.root,
                    &settings.helper_environment,
                ));
                let config = DockerConfig::new(folder.join("config.json"), helpers);
                session.trust.logins(Arc::new(config))
            }
            None => Arc::new(Credentials::Anonymous),
        })
}

fn http(
    session: &Session,
    settings: &Settings,
    roots: Vec<PathBuf>,
) -> Result<shipline_http::Client, CommandError> {
    session.parts.client(roots, |roots| {
        Ok(shipline_http::client(&http_settings(settings, roots))?)
    })
}

fn http_settings(settings: &Settings, roots: Vec<PathBuf>) -> HttpSettings {
    let variable = |upper: &str, lower: &str| {
        settings
            .variables
            .get(upper)
            .or_else(|| settings.variables.get(lower))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let proxies = Proxies {
        http: variable("HTTP_PROXY", "http_proxy"),
        https: variable("HTTPS_PROXY", "https_proxy"),
        except: variable("NO_PROXY", "no_proxy"),
    };
    HttpSettings { roots, proxies }
}

/// What shows images to scanners.
pub(crate) fn reader(session: &Session) -> Result<Arc<dyn ImageReader>, CommandError> {
    Ok(Arc::new(StoreReader::new(scratch(session)?)))
}

/// Where files pass through that are too large for memory.
pub(crate) fn scratch(session: &Session) -> Result<PathBuf, CommandError> {
    let place = session.state().join("tmp");
    match place.open() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("failed to use {}", place.path().display());
            let remedy = Obstacle::of(&error).map(Obstacle::remedy);
            let failed = CommandError::new(ErrorKind::NotReady, what).because(error);
            Err(match remedy {
                Some(remedy) => failed.hint(remedy),
                None => failed,
            })
        }
        // It is made when it is needed.
        Ok(_) | Err(_) => Ok(place.path().to_path_buf()),
    }
}

/// The GitOps repository of a profile, as runs use it.
pub(crate) fn gitops(
    session: &Session,
    profile: &ProfileName,
    settings: &Settings,
) -> Result<Arc<dyn GitopsRepo>, CommandError> {
    gitops_signed(session, profile, None, settings)
}

/// The GitOps repository of a profile, whose commits are signed.
pub(crate) fn gitops_signed(
    session: &Session,
    profile: &ProfileName,
    signer: Option<Arc<dyn CommitSigner>>,
    settings: &Settings,
) -> Result<Arc<dyn GitopsRepo>, CommandError> {
    let profile = session.config.profiles.get(profile).ok_or_else(|| {
        let known = session.config.profiles.keys().map(AsRef::as_ref);
        CommandError::usage(format!("there is no profile `{profile}`"))
            .hint(did_you_mean(profile.as_str(), known))
    })?;
    let Some(gitops) = &profile.gitops else {
        return Err(CommandError::usage(format!(
            "profile `{}` names no GitOps repository",
            profile.name
        ))
        .hint(format!(
            "add it to `profiles.{}`: `gitops: {{ url: https://HOST/REPOSITORY.git, branch: main }}`",
            profile.name
        )));
    };
    match gitops {
        GitopsSpec::Local { path, seed, branch } => {
            let place = session.place(path.as_str())?;
            shipline_gitops::refuse_links(&place)?;
            let seed = match seed {
                Some(seed) => {
                    session.place(seed.as_str())?;
                    Some(session.root.join(seed.as_str()))
                }
                None => None,
            };
            Ok(local_gitops(
                place.path().to_path_buf(),
                seed,
                branch,
                signer,
                settings,
            ))
        }
        GitopsSpec::Remote {
            url,
            branch,
            token,
            key,
            known_hosts,
        } => {
            let text = |template: &Option<Template>| {
                let template = template.as_ref();
                template.map(|it| resolve(it, settings)).transpose()
            };
            let login = GitLogin {
                token: text(token)?,
                key: text(key)?,
                known_hosts: text(known_hosts)?,
            };
            let location = Location::parse(&resolve(url, settings)?)?;
            gitops_at(session, location, branch, login, signer, settings)
        }
    }
}

/// The GitOps repository as far as a pipeline needs one: without a `gitops` stage it does without what cannot be had.
pub(crate) fn gitops_of(
    session: &Session,
    selected: &Selected<'_>,
    settings: &Settings,
) -> Result<Arc<dyn GitopsRepo>, CommandError> {
    let profile = selected.profile;
    match Asking::of(selected.pipeline) {
        Asking::AsItMust => Ok(Arc::new(AskedOnce::new(gitops(
            session,
            &profile.name,
            settings,
        )?))),
        Asking::IfItCan if profile.gitops.is_some() => {
            Ok(match gitops(session, &profile.name, settings) {
                Ok(gitops) => Arc::new(AskedOnce::new(gitops)),
                Err(error) => Arc::new(NoGitops::because(error.in_one_line())),
            })
        }
        Asking::IfItCan | Asking::NotAtAll => Ok(Arc::new(NoGitops::wanted())),
    }
}

/// The GitOps repository at a place that need not be in pipeline.yaml.
pub(crate) fn gitops_at(
    session: &Session,
    location: Location,
    branch: &str,
    login: GitLogin,
    signer: Option<Arc<dyn CommitSigner>>,
    settings: &Settings,
) -> Result<Arc<dyn GitopsRepo>, CommandError> {
    match location {
        Location::Local(path) => Ok(local_gitops(
            session.root.join(path),
            None,
            branch,
            signer,
            settings,
        )),
        Location::Http(url) => {
            let exchange = BlockingClient::new(
                http(session, settings, Vec::new())?,
                Peer::Git,
                session.runtime()?.handle().clone(),
            );
            let token = login.token.map(Secret::new);
            let exchange = Arc::new(exchange);
            remote(session, url, branch, token, exchange, signer, settings)
        }
        Location::Ssh(address) => {
            let url = address.to_string();
            let exchange = SshExchange {
                address,
                key: login.key.map(Secret::new),
                known_hosts: login.known_hosts,
                folder: settings.temporary.clone(),
                environment: settings.helper_environment.clone(),
            };
            remote(
                session,
                url,
                branch,
                None,
                Arc::new(exchange),
                signer,
                settings,
            )
        }
    }
}

/// What opens a repository on a server.
#[derive(Default)]
pub(crate) struct GitLogin {
    /// For HTTPS.
    pub(crate) token: Option<String>,
    /// A private key, for SSH.
    pub(crate) key: Option<String>,
    /// Host keys, for SSH.
    pub(crate) known_hosts: Option<String>,
}

/// A repository on a server.
fn remote(
    session: &Session,
    url: String,
    branch: &str,
    token: Option<Secret>,
    exchange: Arc<dyn HttpExchange>,
    signer: Option<Arc<dyn CommitSigner>>,
    settings: &Settings,
) -> Result<Arc<dyn GitopsRepo>, CommandError> {
    // What is kept of one repository is of no use for another.
    let name = hex::encode(Sha256::digest(url.as_bytes()));
    let name = format!("cache/gitops-{}", name.get(..16).unwrap_or_default());
    let remote = RemoteSettings {
        url,
        branch: branch.to_owned(),
        token,
        cache: session.state().join(name),
        exchange,
        deadline: GITOPS_DEADLINE,
        max_pack: GITOPS_PACK,
        signer,
        faults: settings.faults.clone(),
    };
    Ok(Arc::new(RemoteGitops::new(remote)?))
}

fn local_gitops(
    path: PathBuf,
    seed: Option<PathBuf>,
    branch: &str,
    signer: Option<Arc<dyn CommitSigner>>,
    settings: &Settings,
) -> Arc<dyn GitopsRepo> {
    Arc::new(LocalGitops::new(LocalSettings {
        path,
        branch: branch.to_owned(),
        seed,
        deadline: GITOPS_DEADLINE,
        signer,
        faults: settings.faults.clone(),
    }))
}

/// A template's public or secret text.
pub(crate) fn resolve(template: &Template, settings: &Settings) -> Result<String, CommandError> {
    template
        .resolve(&settings.variables)
        .map(|value| value.expose().to_owned())
        .map_err(|missing| {
            let names: Vec<String> = missing
                .iter()
                .map(shipline_model::value::MissingVariable::written)
                .collect();
            CommandError::usage(format!("not set: {}", names.join(", ")))
                .hint("set them in the environment of this command")
        })
}
