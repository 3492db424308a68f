//! Files that are right.

use shipline_model::config::{self, Config};

use super::{GOOD, load};

/// The same without what differs between two texts of one meaning.
fn without_lines(mut config: Config) -> Config {
    for ignore in &mut config.scans.ignore {
        ignore.line = 0;
    }
    config
}

#[test]
fn a_shown_configuration_loads_as_an_equal_one() {
    let config = load(GOOD);
    let shown = config::show(&config);
    insta::assert_snapshot!("shown", shown);
    assert_eq!(without_lines(load(&shown)), without_lines(config));
}
