//! `profiles`.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::super::problem::{Problems, key, value};
use super::super::raw;
use super::super::types::{DistributionSpec, EcrSpec, GitopsSpec, Login, Profile, RegistrySpec};
use super::manifests;
use super::text::{Secrets, branch, filled_template, is_authority, is_url, key_name, path, plain};
use crate::name::{NameError, ProfileName, RepoPath, RepositoryName};
use crate::value::{Part, Template};
use crate::yaml::Route;

const LOCAL: &str = "local";
const LOCAL_REGISTRY: &str = ".shipline/registry";
const LOCAL_GITOPS: &str = ".shipline/gitops.git";
const MAIN: &str = "main";

pub(super) fn all(
    raw: Option<&IndexMap<String, raw::Profile>>,
    problems: &mut Problems<'_>,
) -> IndexMap<ProfileName, Profile> {
    let route = Route::root().key("profiles");
    let mut profiles = IndexMap::new();
    for (name, profile) in raw.into_iter().flatten() {
        let here = route.key(name);
        let checked_name = key_name(name, &here, ProfileName::new, problems);
        let registry = registry(name, profile.registry.as_ref(), &here, problems);
        let gitops = gitops(name, profile.gitops.as_ref(), &here, problems);
        let patterns = manifests::all(
            profile
                .gitops
                .as_ref()
                .and_then(|raw| raw.manifests.as_ref()),
            &here.key("gitops"),
            problems,
        );
        let mirrors = mirrors(profile.mirrors.as_ref(), &here, problems);
        if let (
            Some(RegistrySpec::Layout { path: images }),
            Some(Some(GitopsSpec::Local { path: commits, .. })),
        ) = (&registry, &gitops)
            && (images.contains(commits.as_str()) || commits.contains(images.as_str()))
        {
            problems.push(
                key(
                    &here,
                    format!("its registry `{images}` and its GitOps repository `{commits}` are in one another"),
                )
                .help("give each a directory of its own"),
            );
        }
        if let (Some(name), Some(registry), Some(gitops)) = (checked_name, registry, gitops) {
            profiles.insert(
                name.clone(),
                Profile {
                    name,
                    registry,
                    gitops,
                    manifests: patterns,
                    mirrors,
                },
            );
        }
    }
    if let Ok(local) = local()
        && !profiles.contains_key(LOCAL)
    {
        profiles.shift_insert(0, local.name.clone(), local);
    }
    profiles
}

/// The profile that is there without being written.
fn local() -> Result<Profile, NameError> {
    Ok(Profile {
        name: ProfileName::new(LOCAL)?,
        registry: local_registry()?,
        gitops: Some(local_gitops()?),
        manifests: Vec::new(),
        mirrors: BTreeMap::new(),
    })
}

fn mirrors(
    raw: Option<&raw::Texts>,
    profile: &Route,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Template> {
    let route = profile.key("mirrors");
    let mut mirrors = BTreeMap::new();
    for (host, address) in raw.into_iter().flatten() {
        let here = route.key(host);
        if !is_authority(host) {
            problems.push(
                key(&here, format!("`{host}` is no registry"))
                    .label("this name")
                    .help(
                        "write the host that image names begin with; Docker Hub's is `docker.io`",
                    ),
            );
        }
        let template = filled_template(address, &here, Secrets::Refused, problems);
        match template.as_ref().and_then(literal) {
            Some(text) if text.contains("://") => {
                let (_, rest) = text.split_once("://").unwrap_or_default();
                problems.push(
                    value(
                        &here,
                        "a mirror is named without a scheme, and is spoken to in HTTPS",
                    )
                    .help(format!("write `{}`", rest.trim_end_matches('/'))),
                );
            }
            Some(text) => registry_address(&text, &here, problems),
            None => {}
        }
        if let Some(template) = template {
            mirrors.insert(host.clone(), template);
        }
    }
    mirrors
}

fn local_registry() -> Result<RegistrySpec, NameError> {
    Ok(RegistrySpec::Layout {
        path: RepoPath::new(LOCAL_REGISTRY)?,
    })
}

fn local_gitops() -> Result<GitopsSpec, NameError> {
    Ok(GitopsSpec::Local {
        path: RepoPath::new(LOCAL_GITOPS)?,
        seed: None,
        branch: MAIN.to_owned(),
    })
}

fn registry(
    profile: &str,
    raw: Option<&raw::Registry>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<RegistrySpec> {
    let Some(raw) = raw else {
        if profile == LOCAL {
            return local_registry().ok();
        }
        problems.push(
            key(here, "`registry` is missing").label("in this").help(
                "add `registry: { ecr: { account: \"…\", region: … } }`, `{ url: HOST/PATH }` or `{ layout: DIRECTORY }`",
            ),
        );
        return None;
    };
    let route = here.key("registry");
    let kinds: Vec<&str> = [
        ("layout", raw.layout.is_some()),
        ("ecr", raw.ecr.is_some()),
        ("url", raw.url.is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, given)| given.then_some(kind))
    .collect();
    let [kind] = kinds.as_slice() else {
        one_of(&kinds, &["layout", "ecr", "url"], &route, problems);
        return None;
    };
    for (option, given) in [
        ("insecure", raw.insecure.is_some()),
        ("ca", raw.ca.is_some()),
        ("username", raw.username.is_some()),
        ("password", raw.password.is_some()),
    ] {
        if given && *kind != "url" {
            let help = if option == "ca" && *kind == "ecr" {
                "move it into `ecr`"
            } else {
                "remove it"
            };
            problems.push(
                key(
                    &route.key(option),
                    format!("belongs to a registry with `url`, not with `{kind}`"),
                )
                .label("has no effect")
                .help(help),
            );
        }
    }
    match raw {
        raw::Registry {
            layout: Some(layout),
            ..
        } => Some(RegistrySpec::Layout {
            path: path(&RepoPath::root(), layout, &route.key("layout"), problems)?,
        }),
        raw::Registry { ecr: Some(ecr), .. } => {
            ecr_registry(ecr, &route.key("ecr"), problems).map(RegistrySpec::Ecr)
        }
        raw::Registry { url: Some(url), .. } => {
            distribution(url, raw, &route, problems).map(RegistrySpec::Distribution)
        }
        raw::Registry { .. } => None,
    }
}

fn one_of(given: &[&str], wanted: &[&str], route: &Route, problems: &mut Problems<'_>) {
    let wanted = wanted
        .iter()
        .map(|kind| format!("`{kind}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let draft = match given.split_last() {
        None => key(route, format!("needs one of {wanted}")).help("say where it is"),
        Some((last, first)) => key(
            &route.key(*last),
            format!("cannot stand beside {}", super::suggest::list(first)),
        )
        .label("one too many")
        .help(format!("keep exactly one of {wanted}")),
    };
    problems.push(draft);
}

fn optional(
    text: Option<&String>,
    route: &Route,
    name: &str,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    filled_template(text?, &route.key(name), Secrets::Refused, problems)
}

fn optional_url(
    text: Option<&String>,
    route: &Route,
    name: &str,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    let template = optional(text, route, name, problems)?;
    if let Some(text) = literal(&template)
        && !is_url(&text, &["https", "http"])
    {
        problems.push(
            value(&route.key(name), format!("`{text}` is no URL"))
                .help("write a whole URL: `https://HOST`"),
        );
    }
    Some(template)
}

/// A URL to which credentials go: encrypted, or on this machine.
fn safe_url(
    text: Option<&String>,
    route: &Route,
    name: &str,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    let template = optional_url(text, route, name, problems)?;
    if let Some(text) = literal(&template)
        && let Some(rest) = text.strip_prefix("http://")
        && !is_loopback(rest)
    {
        problems.push(
            value(&route.key(name), "credentials would go there without encryption")
                .help(format!("write `https://{rest}`; plain HTTP is for this machine only (`http://localhost:PORT`)")),
        );
    }
    Some(template)
}

/// Whether what follows `http://` names this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The text of a template without variables.
fn literal(template: &Template) -> Option<String> {
    match template.parts() {
        [Part::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

fn ecr_registry(raw: &raw::Ecr, route: &Route, problems: &mut Problems<'_>) -> Option<EcrSpec> {
    if let Some(account) = &raw.account
        && !(account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
    {
        problems.push(
            value(
                &route.key("account"),
                format!("`{account}` is no AWS account"),
            )
            .help("write its 12 digits, in quotes: \"123456789012\""),
        );
    }
    let region = raw.region.as_ref().and_then(|region| {
        let here = route.key("region");
        let region = plain(region, &here, problems)?;
        let good = region.contains('-')
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !good {
            problems.push(
                value(&here, format!("`{region}` is no AWS region"))
                    .help("write a region such as `eu-central-1`"),
            );
        }
        Some(region)
    });
    let role = optional(raw.role.as_ref(), route, "role", problems);
    if let Some(text) = role.as_ref().and_then(literal)
        && !text.starts_with("arn:")
    {
        problems.push(
            value(&route.key("role"), format!("`{text}` is no role"))
                .help("write its ARN: `arn:aws:iam::123456789012:role/NAME`"),
        );
    }
    let endpoint = safe_url(raw.endpoint.as_ref(), route, "endpoint", problems);
    let registry_endpoint = safe_url(
        raw.registry_endpoint.as_ref(),
        route,
        "registry_endpoint",
        problems,
    );
    let ca = optional(raw.ca.as_ref(), route, "ca", problems);
    Some(EcrSpec {
        account: raw.account.clone()?,
        region: region?,
        create_repositories: raw.create_repositories.unwrap_or(false),
        role,
        endpoint,
        registry_endpoint,
        ca,
    })
}

fn distribution(
    url: &str,
    raw: &raw::Registry,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Option<DistributionSpec> {
    let here = route.key("url");
    let template = filled_template(url, &here, Secrets::Refused, problems);
    if let Some(text) = template.as_ref().and_then(literal) {
        registry_address(&text, &here, problems);
    }
    let ca = optional(raw.ca.as_ref(), route, "ca", problems);
    let username = raw
        .username
        .as_ref()
        .and_then(|text| filled_template(text, &route.key("username"), Secrets::Allowed, problems));
    let password = raw.password.as_ref().and_then(|text| {
        filled_template(text, &route.key("password"), Secrets::Required, problems)
    });
    let login = match (&raw.username, &raw.password) {
        (Some(_), None) => {
            problems.push(
                key(&route.key("username"), "needs a `password` beside it")
                    .help("add `password: ${secret.REGISTRY_PASSWORD}`"),
            );
            None
        }
        (None, Some(_)) => {
            problems.push(
                key(&route.key("password"), "needs a `username` beside it")
                    .help("add `username: …`"),
            );
            None
        }
        (Some(_), Some(_)) => Some(Login {
            username: username?,
            password: password?,
        }),
        (None, None) => None,
    };
    Some(DistributionSpec {
        url: template?,
        insecure: raw.insecure.unwrap_or(false),
        ca,
        login,
    })
}

fn registry_address(text: &str, here: &Route, problems: &mut Problems<'_>) {
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        let help = if scheme == "http" {
            format!("write `{rest}`, and `insecure: true` beside it for plain HTTP")
        } else {
            format!("write `{rest}`")
        };
        problems.push(
            value(
                here,
                "a registry is named without a scheme, as in an image's name",
            )
            .help(help),
        );
        return;
    }
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    let is_path = |path: &str| RepositoryName::new(path).is_ok();
    if let Some(path) = path
        && is_authority(host)
        && !is_path(path)
        && is_path(&path.to_ascii_lowercase())
    {
        problems.push(
            value(here, "names of images have no upper-case letters")
                .help(format!("write `{host}/{}`", path.to_ascii_lowercase())),
        );
        return;
    }
    let good = is_authority(host) && path.is_none_or(is_path);
    if !good {
        problems.push(value(here, format!("`{text}` is no registry")).help(
            "write its host, and port and path if it has them: `registry.example.com:5000/team`",
        ));
    }
}

/// `None`: something is wrong. `Some(None)`: the profile has none, which is right for pipelines without a `gitops` stage.
fn gitops(
    profile: &str,
    raw: Option<&raw::Gitops>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Option<GitopsSpec>> {
    match raw {
        Some(raw) => repository(profile, raw, here, problems).map(Some),
        None if profile == LOCAL => local_gitops().ok().map(Some),
        None => Some(None),
    }
}

fn repository(
    profile: &str,
    raw: &raw::Gitops,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<GitopsSpec> {
    let route = here.key("gitops");
    let branch = match &raw.branch {
        None => Some(MAIN.to_owned()),
        Some(text) => branch(text, &route.key("branch"), problems),
    };
    match (&raw.path, &raw.url) {
        (Some(_), Some(_)) => {
            one_of(&["path", "url"], &["path", "url"], &route, problems);
            None
        }
        (None, None) if profile == LOCAL => {
            let GitopsSpec::Local { path, .. } = local_gitops().ok()? else {
                return None;
            };
            local_repository(raw, Some(path), branch, &route, problems)
        }
        (None, None) => {
            one_of(&[], &["path", "url"], &route, problems);
            None
        }
        (Some(text), None) => {
            let path = path(&RepoPath::root(), text, &route.key("path"), problems);
            local_repository(raw, path, branch, &route, problems)
        }
        (None, Some(url)) => {
            if raw.seed.is_some() {
                problems.push(
                    key(
                        &route.key("seed"),
                        "belongs to a repository with `path`, not with `url`",
                    )
                    .label("has no effect")
                    .help("remove it: a remote repository is never created"),
                );
            }
            let here = route.key("url");
            let url = filled_template(url, &here, Secrets::Refused, problems);
            if let Some(text) = url.as_ref().and_then(literal) {
                git_address(&text, &here, problems);
                if let Some(rest) = text.strip_prefix("http://")
                    && raw.token.is_some()
                    && !is_loopback(rest)
                {
                    problems.push(
                        value(&here, "the token would go there without encryption")
                            .help(format!("write `https://{rest}`")),
                    );
                }
            }
            let token = match &raw.token {
                None => None,
                Some(text) => Some(filled_template(
                    text,
                    &route.key("token"),
                    Secrets::Required,
                    problems,
                )?),
            };
            let mut ssh = |text: Option<&String>, name: &str, secrets| match text {
                None => Some(None),
                Some(text) => filled_template(text, &route.key(name), secrets, problems).map(Some),
            };
            let key = ssh(raw.key.as_ref(), "key", Secrets::Required);
            let known_hosts = ssh(raw.known_hosts.as_ref(), "known_hosts", Secrets::Refused);
            if let Some(text) = url.as_ref().and_then(literal) {
                of_transport(raw, &text, &route, problems);
            }
            Some(GitopsSpec::Remote {
                url: url?,
                branch: branch?,
                token,
                key: key?,
                known_hosts: known_hosts?,
            })
        }
    }
}

fn local_repository(
    raw: &raw::Gitops,
    repository: Option<RepoPath>,
    branch: Option<String>,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Option<GitopsSpec> {
    for (name, given) in [
        ("token", raw.token.is_some()),
        ("key", raw.key.is_some()),
        ("known_hosts", raw.known_hosts.is_some()),
    ] {
        if given {
            problems.push(
                key(
                    &route.key(name),
                    "belongs to a repository with `url`, not with `path`",
                )
                .label("has no effect")
                .help("remove it"),
            );
        }
    }
    let seed = match &raw.seed {
        None => None,
        Some(text) => Some(path(&RepoPath::root(), text, &route.key("seed"), problems)?),
    };
    Some(GitopsSpec::Local {
        path: repository?,
        seed,
        branch: branch?,
    })
}

/// `git@host:path`, as `git clone` takes it; `./a:b` is a path of this machine.
fn is_scp(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    host.split_once(':')
        .is_some_and(|(user, _)| user.contains('@') || !host.starts_with('.'))
}

/// Whether a URL is one of SSH.
fn is_ssh(text: &str) -> bool {
    text.starts_with("ssh://") || (!text.contains("://") && is_scp(text))
}

/// A token is sent by HTTP only, a key and host keys belong to SSH.
fn of_transport(raw: &raw::Gitops, url: &str, route: &Route, problems: &mut Problems<'_>) {
    let ssh = is_ssh(url);
    for (name, given, fits, other) in [
        ("token", raw.token.is_some(), !ssh, "`key: ${secret.NAME}`"),
        ("key", raw.key.is_some(), ssh, "`token: ${secret.NAME}`"),
        ("known_hosts", raw.known_hosts.is_some(), ssh, "nothing"),
    ] {
        if given && !fits {
            let transport = if ssh { "SSH" } else { "HTTPS" };
            problems.push(
                key(
                    &route.key(name),
                    format!("has no meaning for a repository over {transport}"),
                )
                .label("has no effect")
                .help(format!("write {other} instead")),
            );
        }
    }
}

fn git_address(text: &str, here: &Route, problems: &mut Problems<'_>) {
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let web = text.starts_with("https://") || text.starts_with("http://");
        if user.is_some_and(|user| web || user.contains(':')) {
            problems.push(
                value(here, "a login must not stand in a URL")
                    .help("write `token: ${secret.GITOPS_TOKEN}` beside it"),
            );
            return;
        }
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let draft = match scheme {
        Some("https" | "http" | "file" | "ssh") => return,
        Some(scheme) => value(here, format!("`{scheme}` is no scheme of a git repository")),
        None if text.contains(char::is_whitespace) => {
            value(here, format!("`{text}` is no git repository"))
        }
        None => return,
    };
    problems.push(
        draft.help(
            "write `https://HOST/REPOSITORY.git` and `token: ${secret.NAME}`, or `ssh://git@HOST/REPOSITORY.git` and `key: ${secret.NAME}`",
        ),
    );
}
