//! `COPY --parents`: each path keeps the folders above it. A `/./` in a source says from where on.

use super::context::{Seen, follow};
use super::copy::Copying;
use super::tree::{ImagePath, Node, join, normal, possible};
use crate::build::ignore::{Ignore, Matched};
use crate::build::pattern::has_wildcard;

/// What a source with `--parents` takes, by patterns with `**`.
struct Wanted {
    /// A path that these rules match, or one below it, is taken.
    takes: Ignore,
    /// The same as an exception: tells where it is worth to look.
    looks: Ignore,
}

/// A directory on the way to what is taken: made once something below it is.
type Pending = Vec<(ImagePath, Node)>;

impl Copying<'_> {
    /// Copies what `pattern` names below `target`, with the folders above it.
    pub(super) fn with_parents(&mut self, pattern: &str, target: &[u8]) -> Result<(), String> {
        let (from, pattern) = pattern.split_once("/./").unwrap_or(("", pattern));
        let pattern = String::from_utf8_lossy(&normal(pattern.as_bytes())).into_owned();
        let from = follow(self.source, &normal(from.as_bytes()))?;
        let missing = || self.source.missing(&join(&from, pattern.as_bytes()));
        let everything = pattern.is_empty();
        let wanted = if everything {
            "**".to_owned()
        } else {
            pattern.clone()
        };
        let wanted = Wanted {
            takes: Ignore::of_patterns(std::slice::from_ref(&wanted))?,
            looks: Ignore::of_patterns(&[format!("!{wanted}")])?,
        };
        match self.source.see(&from)? {
            Seen::Node(node) if node.is_directory() => {}
            Seen::Hollow => {}
            Seen::Node(_) | Seen::Nothing => return Err(missing()),
        }
        self.destination(target)?;
        let states = (wanted.takes.root(), self.rules.exclude.root());
        let before = self.taken;
        self.walk(&wanted, &from, target, &[], &states, &mut Vec::new())?;
        if self.taken == before && !everything {
            if !has_wildcard(&pattern) {
                return Err(missing());
            }
            self.notes.push(format!(
                "`{pattern}` matches nothing in {}",
                self.source.describe()
            ));
        }
        Ok(())
    }

    fn walk(
        &mut self,
        wanted: &Wanted,
        directory: &[u8],
        target: &[u8],
        relative: &[u8],
        (taking, leaving): &(Matched, Matched),
        pending: &mut Pending,
    ) -> Result<(), String> {
        for child in self.source.names(directory)? {
            let path = join(directory, &child);
            let relative = join(relative, &child);
            possible(&relative)?;
            let shown = String::from_utf8_lossy(&relative).into_owned();
            let (taking, taken) = wanted.takes.enter(taking, &shown);
            let (leaving, left) = self.rules.exclude.enter(leaving, &shown);
            let takes = taken && !left;
            let keeps = !left || self.rules.exclude.may_keep_below(&shown);
            let looks = keeps && (taken || wanted.looks.may_keep_below(&shown));
            let to = join(target, &child);
            match self.source.see(&path)? {
                Seen::Nothing => {}
                Seen::Hollow if looks => {
                    let states = (taking, leaving);
                    pending.push((to.clone(), Node::directory()));
                    self.walk(wanted, &path, &to, &relative, &states, pending)?;
                    pending.retain(|(path, _)| *path != to);
                }
                Seen::Node(node) if node.is_directory() => {
                    if !looks {
                        continue;
                    }
                    pending.push((to.clone(), node));
                    if takes {
                        self.make(pending)?;
                    }
                    let states = (taking, leaving);
                    self.walk(wanted, &path, &to, &relative, &states, pending)?;
                    pending.retain(|(path, _)| *path != to);
                }
                Seen::Node(node) if takes => {
                    self.make(pending)?;
                    self.file(to, node)?;
                    self.taken += 1;
                }
                Seen::Hollow | Seen::Node(_) => {}
            }
        }
        Ok(())
    }

    /// Makes the directories that wait.
    fn make(&mut self, pending: &mut Pending) -> Result<(), String> {
        for (path, node) in std::mem::take(pending) {
            self.directory(path, node)?;
            self.taken += 1;
        }
        Ok(())
    }
}
