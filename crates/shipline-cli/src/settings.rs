//! Everything that comes from outside the command line: read here, once, and nowhere else.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use shipline_engine::fault::{FaultPoint, Faults};
use shipline_model::value::Variables;
use shipline_report::Palette;

use crate::ci::{self, Trigger};
use crate::error::CommandError;
use crate::shown::Runner;

/// Variables that commands see although no component lists them: where programs are, who we are, how text is encoded, and how
/// the network is reached.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "NVM_DIR",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// A terminal that shows colours and moves its cursor.
    Terminal {
        /// Columns.
        width: u16,
        /// Whether colours are wanted.
        colour: Colour,
    },
    /// A file, a pipe or a dumb terminal.
    Plain,
}

impl Screen {
    /// The colours for it.
    pub(crate) fn palette(self) -> Palette {
        match self {
            Self::Terminal {
                width: _,
                colour: Colour::On,
            } => Palette::Colour,
            Self::Terminal {
                width: _,
                colour: Colour::Off,
            }
            | Self::Plain => Palette::Plain,
        }
    }

    /// How wide what is drawn on it may be, in columns.
    pub(crate) fn width(self) -> u16 {
        match self {
            Self::Terminal { width, colour: _ } => width,
            Self::Plain => 100,
        }
    }
}

/// Whether colours are wanted (`NO_COLOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Where and how to speak OpenID Connect inside GitHub Actions.
#[derive(Debug, Clone)]
pub(crate) struct GithubOidc {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub(crate) url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub(crate) token: String,
}

/// Everything that comes from outside the command line.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where the command works: where it was started, or its `-C`.
    pub(crate) directory: PathBuf,
    /// Where the command was started.
    pub(crate) started_in: PathBuf,
    /// The `--state` of the command line, absolute.
    pub(crate) state: Option<PathBuf>,
    /// All variables, for `${env.X}` and `${secret.X}`.
    pub(crate) variables: Variables,
    /// What commands see.
    pub(crate) command_environment: BTreeMap<String, String>,
    /// What credential helpers see: everything, as docker gives it to them.
    pub(crate) helper_environment: BTreeMap<String, String>,
    /// What standard error is.
    pub(crate) screen: Screen,
    /// What standard output is.
    pub(crate) page: Screen,
    /// What started the run.
    pub(crate) trigger: Trigger,
    /// Who, for deployment commits, where it is known without asking git.
    pub(crate) actor: Option<String>,
    /// The CI run's URL, where there is one.
    pub(crate) run_url: Option<String>,
    /// Our own program.
    pub(crate) program: PathBuf,
    /// The folder of docker's `config.json`.
    pub(crate) docker_config: Option<PathBuf>,
    /// GitHub's OpenID Connect, inside Actions with `id-token: write`.
    pub(crate) github_oidc: Option<GithubOidc>,
    /// The machine's folder for what passes through.
    pub(crate) temporary: PathBuf,
    /// `SHIPLINE_FAULT=POINT[:N]`: for tests of recovery.
    pub(crate) faults: Faults,
    /// Seconds since 1970 UTC at the start (`SHIPLINE_NOW` overrides it, for reproducible runs).
    pub(crate) now: i64,
    /// Milliseconds of the clock at the same look: of the second after, they would sort runs wrongly.
    pub(crate) now_millis: u32,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Where a variable of ours does not say what it should.
    pub(crate) fn from_environment() -> Result<Self, CommandError> {
        let all: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let get = |name: &str| all.get(name).filter(|value| !value.is_empty()).cloned();
        let directory = std::env::current_dir().map_err(|error| {
            CommandError::usage("the current directory cannot be read").because(error)
        })?;
        let program = std::env::current_exe().map_err(|error| {
            CommandError::usage("the path of this program cannot be read").because(error)
        })?;
        let clock = jiff::Timestamp::now();
        let now = match get("SHIPLINE_NOW") {
            Some(text) => text.parse().map_err(|_| {
                CommandError::usage(format!("SHIPLINE_NOW is not a number of seconds: `{text}`"))
            })?,
            None => clock.as_second(),
        };
        // rustup sets its variable for whatever `cargo` starts: it would win over a component's rust-toolchain.toml, and make
        // `cargo xtask` differ from `shipline`.
        let through_cargo = all.contains_key("CARGO");
        let command_environment = all
            .iter()
            .filter(|(name, _)| PASSED_ON.contains(&name.as_str()) || name.starts_with("LC_"))
            .filter(|(name, _)| !(through_cargo && *name == "RUSTUP_TOOLCHAIN"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let home = get("HOME").map(PathBuf::from);
        let run_url = match (
            get("GITHUB_SERVER_URL"),
            get("GITHUB_REPOSITORY"),
            get("GITHUB_RUN_ID"),
        ) {
            (Some(server), Some(repository), Some(id)) => {
                Some(format!("{server}/{repository}/actions/runs/{id}"))
            }
            _ => None,
        };
        Ok(Self {
            started_in: directory.clone(),
            state: None,
            directory,
            command_environment,
            helper_environment: all.clone(),
            screen: screen(&all, &std::io::stderr()),
            page: screen(&all, &std::io::stdout()),
            trigger: ci::trigger(&all),
            actor: get("GITHUB_ACTOR"),
            run_url,
            program,
            docker_config: get("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| home.map(|home| home.join(".docker"))),
            github_oidc: match (
                get("ACTIONS_ID_TOKEN_REQUEST_URL"),
                get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
            ) {
                (Some(url), Some(token)) => Some(GithubOidc { url, token }),
                _ => None,
            },
            temporary: std::env::temp_dir(),
            faults: faults(get("SHIPLINE_FAULT").as_deref())?,
            now,
            // Less than a thousand, and not negative after 1970.
            now_millis: clock.subsec_millisecond().unsigned_abs(),
            variables: Variables::new(all),
        })
    }
}

/// What reads the output, known before anything else: whatever is printed goes there.
pub(crate) fn runner() -> Runner {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("GITHUB_ACTIONS") {
        Runner::Actions
    } else if set("TF_BUILD") || set("TEAMCITY_VERSION") {
        Runner::Other
    } else {
        Runner::None
    }
}

fn screen(
    all: &BTreeMap<String, String>,
    output: &(impl IsTerminal + std::os::fd::AsFd),
) -> Screen {
    let dumb = all.get("TERM").is_some_and(|term| term == "dumb") || all.contains_key("CI");
    if dumb || !output.is_terminal() {
        return Screen::Plain;
    }
    let colour = if all.get("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        Colour::Off
    } else {
        Colour::On
    };
    let width = all.get("COLUMNS").and_then(|columns| columns.parse().ok());
    Screen::Terminal {
        width: width.unwrap_or_else(|| {
            terminal_size::terminal_size_of(output).map_or(80, |(width, _)| width.0)
        }),
        colour,
    }
}

fn faults(text: Option<&str>) -> Result<Faults, CommandError> {
    let Some(text) = text else {
        return Ok(Faults::none());
    };
    let (point, nth) = text.split_once(':').unwrap_or((text, "1"));
    let unknown = |_| {
        let known: Vec<&str> = FaultPoint::ALL.iter().map(|point| point.word()).collect();
        CommandError::usage(format!("SHIPLINE_FAULT is no fault point: `{text}`"))
            .hint(format!("known: {}", known.join(", ")))
    };
    let point = point.parse().map_err(unknown)?;
    let nth = nth.parse().map_err(|_| {
        CommandError::usage(format!("SHIPLINE_FAULT has no number behind `:`: `{text}`"))
    })?;
    Ok(Faults::kill_at(point, nth))
}
