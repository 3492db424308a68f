//! Dockerfiles that execute nothing, and what each must become: every builder is held against this table.

mod archives;
mod config;
mod copy;
mod files;

/// What a Dockerfile must become.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) since: Since,
    /// Path and content; `->` begins a link's target, `+x` an executable's text, `+tar`, `+tgz`, `+tbz`, `+txz` and `+tzst`
    /// stand for an archive ([`crate::world::archive`]), a trailing `/` names a directory.
    pub(crate) context: &'static [(&'static str, &'static str)],
    pub(crate) dockerfile: &'static str,
    /// Every path but the root: `type mode uid:gid content-or-target`.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Keys of the config that are compared.
    pub(crate) config: &'static str,
}

/// Which engines read a row at all, without fetching another Dockerfile language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// All of them.
    Always,
    /// Every BuildKit, and not the classic builder.
    BuildKit,
    /// BuildKit of the newest engines (heredocs and `--link` came with 23.0, `--exclude` and symbolic `--chmod` with 28).
    Newer,
    /// Engines newer than the newest that the table was ever held against (28.5): their documentation is followed.
    Documented,
}

/// The whole table.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [files::CASES, copy::CASES, archives::CASES, config::CASES]
        .into_iter()
        .flatten()
}
