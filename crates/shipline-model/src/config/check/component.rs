//! `components`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indexmap::IndexMap;

use super::super::problem::{Draft, Problems, key, value};
use super::super::types::{Component, Containers, KustomizeImages, Pin, Route as Gateway};
use super::super::{raw, suggest};
use super::text::{command, duration, is_service_name, key_name, path, plain, variables};
use super::{declared, image, manifests};
use crate::name::{ComponentName, EnvironmentName, RepoPath, RepositoryName};
use crate::yaml::Route;

const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Words that the shell runs itself, and those of its grammar.
const BUILTINS: &[&str] = &[
    "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "declare", "do",
    "done", "echo", "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fg", "fi",
    "for", "function", "getopts", "hash", "if", "in", "jobs", "kill", "let", "local", "printf",
    "pwd", "read", "readonly", "return", "select", "set", "shift", "shopt", "source", "test",
    "then", "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// Words that stand before a command without being one.
const OPENERS: &[&str] = &[
    "!", "command", "do", "elif", "else", "exec", "if", "then", "time", "until", "while", "{",
];

/// Programs that run in another one, whose version they do not tell.
const WITHIN: &[(&str, &str)] = &[("npm", "node"), ("npx", "node")];

type Environments = IndexMap<String, raw::Environment>;

pub(super) fn all(
    raw: Option<&IndexMap<String, raw::Component>>,
    environments: Option<&Environments>,
    problems: &mut Problems<'_>,
) -> IndexMap<ComponentName, Component> {
    let route = Route::root().key("components");
    let Some(raw) = raw else {
        return IndexMap::new();
    };
    if raw.is_empty() {
        problems.push(
            key(&route, "holds no component")
                .help("declare at least one: `frontend: { path: frontend, image: {} }`"),
        );
    }
    let mut components = IndexMap::new();
    for (name, component) in raw {
        let here = route.key(name);
        key_name(name, &here, ComponentName::new, problems);
        if let Some(component) = one(name, component, environments, &here, problems) {
            components.insert(component.name.clone(), component);
        }
    }
    apart(&components, raw, &route, problems);
    components
}

fn one(
    name: &str,
    raw: &raw::Component,
    environments: Option<&Environments>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Component> {
    let root = RepoPath::root();
    let home = raw
        .path
        .as_ref()
        .and_then(|text| path(&root, text, &here.key("path"), problems));
    if raw.path.is_none() {
        without_path(raw, here, problems);
    }
    let base = home.clone().unwrap_or_else(RepoPath::root);
    let uses = paths(raw.uses.as_ref(), &root, &here.key("uses"), problems);
    let caches = caches(raw, &base, here, problems);
    let include_caches = include_caches(raw, &base, &caches, here, problems);
    let repository = repository(name, raw, here, problems);
    let repositories = repositories(raw, environments, here, problems);
    let manifests = manifests::all(raw.manifests.as_ref(), here, problems);
    let names = names(raw, here, problems);
    let containers = containers(raw.containers.as_ref(), here, problems);
    let value = raw
        .value
        .as_ref()
        .and_then(|text| value_keys(text, &here.key("value"), problems));
    let folder = folder(name, raw, here, problems);
    let kubernetes = kubernetes(name, raw, here, problems);
    let environment = variables(raw.environment.as_ref(), &here.key("environment"), problems);
    let mut shell = |text: Option<&String>, key: &str| {
        text.and_then(|text| command(text, &here.key(key), problems))
    };
    let setup = shell(raw.setup.as_ref(), "setup");
    let test = shell(raw.test.as_ref(), "test");
    let junit = junit(raw, here, problems);
    let timeout = match &raw.timeout {
        None => Some(TIMEOUT),
        Some(text) => duration(text, &here.key("timeout"), problems),
    };
    let gateway = raw
        .route
        .as_ref()
        .and_then(|raw| gateway(raw, &here.key("route"), problems));
    let image = raw
        .image
        .as_ref()
        .and_then(|raw| image::one(raw, &base, environments, &here.key("image"), problems));
    let tools = match &raw.tools {
        Some(tools) => tools_given(tools, &here.key("tools"), problems),
        None => {
            let prepare = image.as_ref().and_then(|image| image.prepare.as_deref());
            tools_of([setup.as_deref(), test.as_deref(), prepare])
        }
    };
    Some(Component {
        name: ComponentName::new(name).ok()?,
        path: home,
        uses,
        repository: repository?,
        repositories,
        folder: folder?,
        manifests,
        kubernetes: kubernetes?,
        workload: names.0,
        container: names.1,
        containers,
        value,
        pin: raw.pin.map(|pin| match pin {
            raw::Pin::Tag => Pin::Tag,
            raw::Pin::Digest => Pin::Digest,
            raw::Pin::Both => Pin::Both,
        }),
        kustomize_images: match raw.kustomize_images {
            Some(raw::KustomizeImages::Create) => KustomizeImages::Create,
            Some(raw::KustomizeImages::Existing) | None => KustomizeImages::Existing,
        },
        caches,
        include_caches,
        tools,
        environment,
        setup,
        test,
        junit,
        timeout: timeout?,
        route: gateway,
        image,
    })
}

/// A component without sources can be deployed, so it may say which variants there are, and nothing about building.
fn without_path(raw: &raw::Component, here: &Route, problems: &mut Problems<'_>) {
    let own = [
        ("uses", raw.uses.is_some()),
        ("caches", raw.caches.is_some()),
        ("include_caches", raw.include_caches.is_some()),
        ("tools", raw.tools.is_some()),
        ("setup", raw.setup.is_some()),
        ("test", raw.test.is_some()),
        ("junit", raw.junit.is_some()),
    ];
    let own = own
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name.to_owned());
    let image = raw.image.iter().flat_map(image::build_keys);
    let needing: Vec<String> = own
        .chain(image.map(|name| format!("image.{name}")))
        .collect();
    if needing.is_empty() {
        return;
    }
    let verb = if needing.len() == 1 { "needs" } else { "need" };
    problems.push(
        key(
            here,
            format!("has no `path`, but {} {verb} one", suggest::list(&needing)),
        )
        .label("no `path`")
        .help("add `path: …`; a component without sources is deployed, not built"),
    );
}

fn paths(
    texts: Option<&Vec<String>>,
    base: &RepoPath,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Vec<RepoPath> {
    let mut paths = Vec::new();
    for (index, text) in texts.into_iter().flatten().enumerate() {
        let here = route.index(index);
        if let Some(path) = path(base, text, &here, problems) {
            if paths.contains(&path) {
                problems.push(value(&here, "this path is listed twice").help("remove one"));
            }
            paths.push(path);
        }
    }
    paths
}

fn caches(
    raw: &raw::Component,
    base: &RepoPath,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Vec<RepoPath> {
    let route = here.key("caches");
    let caches = paths(raw.caches.as_ref(), base, &route, problems);
    for (index, text) in raw.caches.iter().flatten().enumerate() {
        let cache = RepoPath::resolve(base, text);
        if cache.is_some_and(|cache| cache.contains(base.as_str())) {
            problems.push(
                value(
                    &route.index(index),
                    "the component itself would survive between runs",
                )
                .help("name what below it may survive, such as `node_modules` or `target`"),
            );
        }
    }
    caches
}

/// Of the caches, and of a component that has an image.
fn include_caches(
    raw: &raw::Component,
    base: &RepoPath,
    caches: &[RepoPath],
    here: &Route,
    problems: &mut Problems<'_>,
) -> Vec<RepoPath> {
    let route = here.key("include_caches");
    let included = paths(raw.include_caches.as_ref(), base, &route, problems);
    for (index, text) in raw.include_caches.iter().flatten().enumerate() {
        let path = RepoPath::resolve(base, text);
        if path.is_some_and(|path| !caches.contains(&path)) {
            problems.push(
                value(&route.index(index), "this is none of the component's `caches`")
                    .help("list it under `caches` as well, or leave it out: what is no cache is in the build context"),
            );
        }
    }
    if raw.include_caches.is_some() && raw.image.is_none() {
        problems.push(
            key(
                &route,
                "the component has no `image` whose build could hold them",
            )
            .help("remove it"),
        );
    }
    included
}

fn repository(
    name: &str,
    raw: &raw::Component,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<RepositoryName> {
    match &raw.repository {
        Some(text) => RepositoryName::new(text.clone())
            .map_err(|error| {
                let draft = value(&here.key("repository"), error.to_string());
                let lower = text.to_lowercase();
                problems.push(if RepositoryName::new(lower.clone()).is_ok() {
                    draft.help(format!("did you mean `{lower}`?"))
                } else {
                    draft.help("the registry's host is the profile's, tags are made by the run")
                });
            })
            .ok(),
        None => RepositoryName::new(name)
            .map_err(|error| {
                unnamed(
                    name,
                    key(here, error.to_string()).help("name it: `repository: …`"),
                    problems,
                );
            })
            .ok(),
    }
}

/// Reports a default that the component's name does not give, unless the name itself is wrong and said to be.
fn unnamed(name: &str, draft: Draft, problems: &mut Problems<'_>) {
    if ComponentName::new(name).is_ok() {
        problems.push(draft.label("its default name"));
    }
}

fn folder(
    name: &str,
    raw: &raw::Component,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let Some(text) = &raw.folder else {
        return Some(name.to_owned());
    };
    let here = here.key("folder");
    let folder = path(&RepoPath::root(), text, &here, problems)?;
    Some(folder.as_str().to_owned())
}

fn kubernetes(
    name: &str,
    raw: &raw::Component,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<String> {
    const RULE: &str = "lower-case letters, digits and `-`, starting with a letter, at most 63";
    match &raw.kubernetes {
        Some(text) => {
            if !is_service_name(text) {
                problems.push(
                    value(
                        &here.key("kubernetes"),
                        format!("`{text}` is no name of a Kubernetes Service"),
                    )
                    .help(RULE),
                );
            }
            Some(text.clone())
        }
        None => {
            let default = name.replace('_', "-");
            if !is_service_name(&default) {
                let message = format!("`{default}` is no name of a Kubernetes Service");
                unnamed(
                    name,
                    key(here, message).help("name it: `kubernetes: …`"),
                    problems,
                );
            }
            Some(default)
        }
    }
}

/// The repositories of single environments.
fn repositories(
    raw: &raw::Component,
    environments: Option<&Environments>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> BTreeMap<EnvironmentName, RepositoryName> {
    let route = here.key("repositories");
    let mut named = BTreeMap::new();
    for (environment, text) in raw.repositories.iter().flatten() {
        let here = route.key(environment);
        let known = environments.into_iter().flat_map(|all| all.keys());
        let known = declared(environment, known, "environment", &here, problems);
        match (
            EnvironmentName::new(environment),
            RepositoryName::new(text.clone()),
        ) {
            (Ok(environment), Ok(repository)) if known => {
                named.insert(environment, repository);
            }
            (_, Err(error)) => problems.push(
                value(&here, error.to_string())
                    .help("the registry's host is the profile's, tags are made by the run"),
            ),
            (Ok(_) | Err(_), Ok(_)) => {}
        }
    }
    let one = raw
        .image
        .as_ref()
        .is_some_and(|image| image.variants.is_none());
    if one && !named.is_empty() {
        problems.push(
            key(&route, "the component makes one image for all environments")
                .label("which repository it goes to cannot be told")
                .help("add `variants` to its `image`, or name one `repository`"),
        );
    }
    named
}

/// `workload` and `container`.
fn names(
    raw: &raw::Component,
    here: &Route,
    problems: &mut Problems<'_>,
) -> (Option<String>, Option<String>) {
    let mut one = |text: Option<&String>, name: &str| {
        let text = plain(text?, &here.key(name), problems)?;
        Some(text)
    };
    let workload = one(raw.workload.as_ref(), "workload");
    let container = one(raw.container.as_ref(), "container");
    (workload, container)
}

fn containers(
    raw: Option<&raw::OneOrMore>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Containers {
    let route = here.key("containers");
    let Some(raw::OneOrMore(names)) = raw else {
        return Containers::Named;
    };
    match names.as_slice() {
        [] => {
            problems.push(
                value(&route, "names no container")
                    .help("write `all`, `named`, or a list of names"),
            );
            Containers::Named
        }
        [only] if only == "named" => Containers::Named,
        [only] if only == "all" => Containers::All,
        names => {
            for (index, name) in names.iter().enumerate() {
                if !is_container_name(name) {
                    let here = if names.len() == 1 {
                        route.clone()
                    } else {
                        route.index(index)
                    };
                    problems.push(
                        value(&here, format!("`{name}` is no name of a container"))
                            .help("write `all`, `named`, or a list of names"),
                    );
                }
            }
            Containers::Listed(names.to_vec())
        }
    }
}

/// A DNS label, as Kubernetes wants it.
fn is_container_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Keys with dots.
fn value_keys(text: &str, route: &Route, problems: &mut Problems<'_>) -> Option<String> {
    let text = plain(text, route, problems)?;
    if text.split('.').any(str::is_empty) {
        problems.push(
            value(route, format!("`{text}` has a key without a name"))
                .help("write the keys from the top of the values, with dots: `image.tag`"),
        );
    }
    Some(text)
}

fn junit(raw: &raw::Component, here: &Route, problems: &mut Problems<'_>) -> Vec<String> {
    let route = here.key("junit");
    let mut globs = Vec::new();
    for (index, text) in raw.junit.iter().flatten().enumerate() {
        let here = route.index(index);
        if let Some(text) = plain(text, &here, problems) {
            if text.starts_with('/') || text.split('/').any(|part| part == "..") {
                problems.push(
                    value(&here, format!("`{text}` leaves the component"))
                        .help("write it from the component's path: `reports/*.xml`"),
                );
            }
            globs.push(text);
        }
    }
    if raw.junit.is_some() && raw.test.is_none() && raw.path.is_some() {
        problems.push(
            key(&route, "needs a `test` that writes the files")
                .label("has no effect")
                .help("add `test: …`, or remove it"),
        );
    }
    globs
}

fn gateway(raw: &raw::Route, here: &Route, problems: &mut Problems<'_>) -> Option<Gateway> {
    let mut slashed = |text: Option<&String>, key: &str| {
        let route = here.key(key);
        let text = plain(text?, &route, problems)?;
        if !text.starts_with('/') || text.contains(['?', '#', ' ']) {
            problems.push(
                value(&route, format!("`{text}` is no path at the gateway"))
                    .help(format!("write `/{}`", text.trim_matches('/'))),
            );
        }
        Some(text)
    };
    let prefix = slashed(raw.prefix.as_ref(), "prefix");
    let rewrite = slashed(raw.rewrite.as_ref(), "rewrite");
    Some(Gateway {
        prefix: prefix?,
        rewrite,
        port: raw.port?,
    })
}

fn tools_given(tools: &[String], route: &Route, problems: &mut Problems<'_>) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let here = route.index(index);
        if !is_tool(tool) {
            problems.push(
                value(&here, format!("`{tool}` is no program's name")).help(
                    "name programs on PATH that answer `--version`, without path and arguments",
                ),
            );
        } else if known.contains(tool) {
            problems.push(value(&here, "this tool is listed twice").help("remove one"));
        }
        known.push(tool.clone());
    }
    known
}

fn is_tool(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

/// The programs that commands start with, in order, each once, and those that these run in.
fn tools_of<const N: usize>(commands: [Option<&str>; N]) -> Vec<String> {
    let mut tools: Vec<String> = Vec::new();
    for command in commands.into_iter().flatten() {
        for word in first_words(&without_documents(command)) {
            if !is_tool(&word) || BUILTINS.contains(&word.as_str()) {
                continue;
            }
            let within = WITHIN.iter().find(|(program, _)| *program == word);
            for tool in within
                .map(|(_, outer)| (*outer).to_owned())
                .into_iter()
                .chain([word])
            {
                if !tools.contains(&tool) {
                    tools.push(tool);
                }
            }
        }
    }
    tools
}

/// A shell text without here-documents: their words are no programs.
fn without_documents(command: &str) -> String {
    let mut kept = String::new();
    let mut end: Option<String> = None;
    for line in command.lines() {
        if let Some(word) = &end {
            if line.trim_start_matches('\t') == word {
                end = None;
            }
            continue;
        }
        end = here_document(line);
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The word that ends the here-document which a line begins, if it begins one.
fn here_document(line: &str) -> Option<String> {
    let (_, rest) = line
        .split_once("<<")
        .filter(|(_, rest)| !rest.starts_with('<'))?;
    let word: String = rest
        .trim_start_matches(['-', ' '])
        .chars()
        .take_while(|c| !c.is_whitespace() && !"|&;>)".contains(*c))
        .filter(|c| !"'\"\\".contains(*c))
        .collect();
    (!word.is_empty()).then_some(word)
}

/// The first word of each simple command of a shell text, after assignments; comments are passed over. What is quoted or substituted is not looked
/// into: `tools` says what this cannot see. Functions that the text defines itself are no programs.
fn first_words(command: &str) -> Vec<String> {
    let mut simple = vec![String::new()];
    let mut quote = None;
    let mut before = '\n';
    for c in command.chars() {
        let first = std::mem::replace(&mut before, c).is_whitespace();
        match quote {
            Some('#') if c != '\n' => continue,
            Some('#') => {
                quote = None;
                simple.push(String::new());
                continue;
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' || (c == '#' && first) => quote = Some(c),
            None if "&|;\n".contains(c) => {
                simple.push(String::new());
                continue;
            }
            None => {}
        }
        if let Some(last) = simple.last_mut() {
            last.push(c);
        }
    }
    let is_assignment = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    let opens = |word: &str| is_assignment(word) || OPENERS.contains(&word) || word.ends_with("()");
    let is_defined = |word: &str| command.contains(&format!("{word}()"));
    simple
        .iter()
        .filter_map(|simple| simple.split_whitespace().find(|word| !opens(word)))
        .filter(|word| !is_defined(word))
        .map(str::to_owned)
        .collect()
}

/// Two components that answer to one name overwrite each other.
fn apart(
    components: &IndexMap<ComponentName, Component>,
    raw: &IndexMap<String, raw::Component>,
    route: &Route,
    problems: &mut Problems<'_>,
) {
    let mut seen: HashMap<(&str, &str), &ComponentName> = HashMap::new();
    let mut places: HashMap<(&str, &str), &ComponentName> = HashMap::new();
    for (name, component) in components {
        let here = route.key(name.as_str());
        let written = raw.get(name.as_str());
        let given = |key: &str| {
            written.is_some_and(|raw| match key {
                "repository" => raw.repository.is_some(),
                "folder" => raw.folder.is_some(),
                "kubernetes" => raw.kubernetes.is_some(),
                _ => false,
            })
        };
        // What is built goes into a repository of its own: two builds in one would give the same tag to different images.
        if component.path.is_some()
            && let Some(other) = seen.insert(("repository", component.repository.as_str()), name)
        {
            let text = &component.repository;
            let message = format!("`{text}` is the repository of `{other}` too");
            let draft = if given("repository") {
                value(&here.key("repository"), message)
            } else {
                key(&here, message).label("its default name")
            };
            problems.push(draft.help("give one of them another `repository`"));
        }
        let container = component.container.as_deref();
        let container = container.unwrap_or(component.kubernetes.as_str());
        let place = (component.folder.as_str(), container);
        // Declared workloads, places in values, and manifests of their own tell components apart as well.
        let apart = component.workload.is_some()
            || component.value.is_some()
            || !component.manifests.is_empty();
        if !apart && let Some(other) = places.insert(place, name) {
            let folder = place.0;
            let message =
                format!("`{other}` is the container `{container}` of the folder `{folder}`, too");
            let draft = if given("kubernetes") {
                value(&here.key("kubernetes"), message)
            } else if given("folder") {
                value(&here.key("folder"), message)
            } else {
                key(&here, message).label("its default name")
            };
            problems.push(draft.help("give one of them another `folder` or `kubernetes`"));
        }
        if component.containers == Containers::All {
            let whole = (component.folder.as_str(), component.repository.as_str());
            let shared = components.values().find(|other| {
                other.name != *name && (other.folder.as_str(), other.repository.as_str()) == whole
            });
            if let Some(other) = shared {
                problems.push(
                    value(
                        &here.key("containers"),
                        format!(
                            "`{}` has the same folder and repository: both would set its image",
                            other.name
                        ),
                    )
                    .help("remove `containers: all`, or one of the components"),
                );
            }
        }
        if let Some(gateway) = &component.route
            && let Some(other) = seen.insert(("route", &gateway.prefix), name)
        {
            problems.push(
                value(
                    &here.key("route").key("prefix"),
                    format!("`{}` is the prefix of `{other}` too", gateway.prefix),
                )
                .help("give one of them another prefix"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_the_words_that_commands_start_with() {
        let check = |commands: [Option<&str>; 2], expected: &[&str]| {
            assert_eq!(tools_of(commands), expected, "{commands:?}");
        };
        check([Some("npm ci"), Some("npm test")], &["node", "npm"]);
        check([Some("cargo test"), None], &["cargo"]);
        check(
            [Some("CI=1 cd web && pnpm i | tee log; node x"), None],
            &["pnpm", "tee", "node"],
        );
        check([Some("./gradlew test"), Some("sh -c 'a; b'")], &["sh"]);
        check([Some("[ -f x ] || make"), None], &["make"]);
    }

    #[test]
    fn the_programs_of_a_command_are_guessed() {
        let check = |command: &str, expected: &[&str]| {
            assert_eq!(tools_of([Some(command)]), expected, "{command}");
        };
        check("cargo test", &["cargo"]);
        check("CI=1 go vet ./... && go test ./...", &["go"]);
        check("cd web; ./prepare.sh | tee log", &["tee"]);
        // What npm runs depends on node, and npm's version does not tell it.
        check("npm ci", &["node", "npm"]);
        check("node x.js && npx next build", &["node", "npx"]);
        check(
            "if type make; then make; elif true; then gcc x.c; fi\ncase $A in\n  b) printf x ;;\nesac\nreturn 0",
            &["make", "gcc"],
        );
        check(
            "# it's; not | run\nmake # nor; this\necho 'a # b'; cc x",
            &["make", "cc"],
        );
        check("cat <<'EOF' > x\nhello; world\nEOF\nmake", &["cat", "make"]);
        check("build() { make all; }\nbuild", &["make"]);
    }
}
