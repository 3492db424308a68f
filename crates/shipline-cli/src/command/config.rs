//! `config show` and `schema`.

use shipline_model::config;

use crate::error::CommandError;
use crate::session::Session;
use crate::settings::Settings;
use crate::shown::{print, print_data};

/// `config show`: the file with every default filled in.
pub(crate) fn show(settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    print(&config::show(&session.config))
}

/// `schema`: the JSON Schema of pipeline.yaml.
pub(crate) fn schema() -> Result<u8, CommandError> {
    print_data(&config::schema())
}
