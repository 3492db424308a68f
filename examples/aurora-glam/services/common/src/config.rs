//! Configuration: read once at start, from variables that Kubernetes sets; the image is the same everywhere.

use std::fmt;

/// How a service runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `PORT`; the service's own where it is not set.
    pub port: u16,
    /// `ENVIRONMENT`: `local`, `staging`, `production`. Shown by `/health`.
    pub environment: String,
    /// `LOG_LEVEL`: `info` or `error`.
    pub log_level: LogLevel,
    /// `ALLOWED_ORIGINS`: origins of browsers that may call from another host, comma-separated; none by default, because
    /// the gateway serves site and APIs under one host.
    pub allowed_origins: Vec<String>,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every request.
    Info,
    /// Only requests that failed on our side.
    Error,
}

/// A variable that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    expected: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            expected,
        } = self;
        write!(f, "{variable} is {value:?}, expected {expected}")
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration through `lookup`. An empty variable counts as one that is not set.
    ///
    /// # Errors
    /// The first variable whose text cannot be used.
    pub fn read(
        default_port: u16,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let get = |name: &str| lookup(name).filter(|text| !text.trim().is_empty());
        let port = match get("PORT") {
            None => default_port,
            Some(text) => {
                text.trim()
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or(ConfigError {
                        variable: "PORT",
                        value: text,
                        expected: "a number from 1 to 65535",
                    })?
            }
        };
        let log_level = match get("LOG_LEVEL") {
            None => LogLevel::Info,
            Some(text) => match text.trim().to_ascii_lowercase().as_str() {
                "info" => LogLevel::Info,
                "error" => LogLevel::Error,
                _ => {
                    return Err(ConfigError {
                        variable: "LOG_LEVEL",
                        value: text,
                        expected: "info or error",
                    });
                }
            },
        };
        let mut allowed_origins = Vec::new();
        for origin in get("ALLOWED_ORIGINS").unwrap_or_default().split(',') {
            let origin = origin.trim();
            if origin.is_empty() {
                continue;
            }
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            if !host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
                return Err(ConfigError {
                    variable: "ALLOWED_ORIGINS",
                    value: origin.to_owned(),
                    expected: "origins like https://aurora-glam.com, without a path",
                });
            }
            allowed_origins.push(origin.to_owned());
        }
        Ok(Self {
            port,
            environment: get("ENVIRONMENT").unwrap_or_else(|| "local".to_owned()),
            log_level,
            allowed_origins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(8001, |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let expected = Config {
            port: 8001,
            environment: "local".to_owned(),
            log_level: LogLevel::Info,
            allowed_origins: Vec::new(),
        };
        assert_eq!(read(&[]), Ok(expected.clone()));
        assert_eq!(read(&[("PORT", ""), ("ENVIRONMENT", " ")]), Ok(expected));
    }

    #[test]
    fn variables_win() {
        let config = read(&[
            ("PORT", "9001"),
            ("ENVIRONMENT", "staging"),
            ("LOG_LEVEL", "ERROR"),
            (
                "ALLOWED_ORIGINS",
                "https://staging.aurora-glam.com, http://localhost:3000",
            ),
        ])
        .unwrap();
        assert_eq!(config.port, 9001);
        assert_eq!(config.environment, "staging");
        assert_eq!(config.log_level, LogLevel::Error);
        assert_eq!(
            config.allowed_origins,
            ["https://staging.aurora-glam.com", "http://localhost:3000"]
        );
    }

    #[test]
    fn unusable_variables_are_named() {
        for (variable, value) in [
            ("PORT", "0"),
            ("PORT", "65536"),
            ("PORT", "http"),
            ("LOG_LEVEL", "loud"),
            ("ALLOWED_ORIGINS", "*"),
            ("ALLOWED_ORIGINS", "https://aurora-glam.com/api"),
        ] {
            let message = read(&[(variable, value)]).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{variable} is {value:?}, expected ")),
                "{message}"
            );
        }
    }
}
