//! `--chown` and USER: numbers as they are, names by the image's own `/etc/passwd` and `/etc/group`.

use shipline_engine::backend::ImageStore;
use shipline_engine::task::TaskContext;

use super::archive::read_small;
use super::tree::Tree;

/// User and group of a `--chown`.
pub(crate) fn owner(
    text: &str,
    tree: &Tree,
    store: &dyn ImageStore,
    task: &TaskContext,
) -> Result<(u64, u64), String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() && group.is_none_or(str::is_empty) {
        return Err(format!("`--chown={text}` names neither a user nor a group"));
    }
    // A number without a group is its own group; a name without one has the group of its entry.
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(number) => (u64::from(number), u64::from(number)),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let fields = lookup(tree, (store, task), "etc/passwd", user)?
                .ok_or_else(|| unknown(text, "user", user, "/etc/passwd"))?;
            match (number(&fields, 2), number(&fields, 3)) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => {
                    return Err(format!(
                        "the entry of `{user}` in /etc/passwd has no numbers"
                    ));
                }
            }
        }
    };
    let gid = match group {
        None => own_group,
        // A colon without a group is group 0, as BuildKit reads it.
        Some("") => 0,
        Some(group) => match group.parse::<u32>() {
            Ok(number) => u64::from(number),
            Err(_) => {
                let fields = lookup(tree, (store, task), "etc/group", group)?
                    .ok_or_else(|| unknown(text, "group", group, "/etc/group"))?;
                number(&fields, 2)
                    .ok_or_else(|| format!("the entry of `{group}` in /etc/group has no number"))?
            }
        },
    };
    Ok((uid, gid))
}

/// Whose a directory is that WORKDIR makes.
pub(crate) struct WorkdirOwner {
    /// User and group.
    pub(crate) numbers: (u64, u64),
    /// Where USER names somebody who is not known: for people.
    pub(crate) note: Option<String>,
}

/// User and group of the USER that is set (`""` where none is). Unlike `--chown`, USER may name somebody whom only the running
/// container knows: then the directory is root's, and a group that is not known is the user's own.
pub(crate) fn user(
    text: &str,
    tree: &Tree,
    store: &dyn ImageStore,
    task: &TaskContext,
) -> Result<WorkdirOwner, String> {
    if text.is_empty() {
        return Ok(WorkdirOwner {
            numbers: (0, 0),
            note: None,
        });
    }
    if let Ok(numbers) = owner(text, tree, store, task) {
        return Ok(WorkdirOwner {
            numbers,
            note: None,
        });
    }
    let name = text.split(':').next().unwrap_or_default();
    let numbers = owner(name, tree, store, task).unwrap_or((0, 0));
    Ok(WorkdirOwner {
        numbers,
        note: Some(format!(
            "USER `{text}` is not in the stage's /etc/passwd and /etc/group, so that this directory belongs to {}:{}",
            numbers.0, numbers.1
        )),
    })
}

fn unknown(text: &str, kind: &str, name: &str, file: &str) -> String {
    format!(
        "`--chown={text}`: {kind} `{name}` is not in the stage's {file}; copy that file first, or write a number"
    )
}

fn number(fields: &[String], index: usize) -> Option<u64> {
    fields.get(index)?.parse::<u32>().ok().map(u64::from)
}

fn lookup(
    tree: &Tree,
    (store, task): (&dyn ImageStore, &TaskContext),
    file: &str,
    name: &str,
) -> Result<Option<Vec<String>>, String> {
    let Some(text) = read_small(tree, file.as_bytes(), store, task)? else {
        return Ok(None);
    };
    Ok(text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().map(String::as_str) == Some(name)))
}
