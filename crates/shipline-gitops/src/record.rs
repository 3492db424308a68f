//! A deployment as its commit message tells it.
//!
//! The last paragraph of the message is a block of git trailers:
//!
//! ```text
//! Deploy-Id: 20251215123456-a1b2c3
//! Environment: staging
//! Components: frontend, user_service
//! Image: frontend r.io/frontend:old -> r.io/frontend:new at=staging/frontend/deployment.yaml:23 digest=sha256:… source-commit=…
//! Run-Id: 20251215123456-a1b2c3
//! ```
//!
//! There is one `Image` line for each changed value. Blanks, control characters and `%` in its parts are percent-encoded, so
//! that the parts can be told apart; `digest` and `source-commit` are left out where they are not known.

use shipline_engine::backend::{Deployment, SetImage};
use shipline_engine::event::ImageChange;

/// The trailer that makes a deployment unique.
const DEPLOY_ID: &str = "Deploy-Id";
const ENVIRONMENT: &str = "Environment";
const COMPONENTS: &str = "Components";
const IMAGE: &str = "Image";

/// What a commit message says about its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployRecord {
    /// `Deploy-Id`.
    pub id: String,
    /// `Environment`.
    pub environment: String,
    /// The `Image` lines.
    pub images: Vec<RecordedImage>,
    /// All other trailers, in order.
    pub trailers: Vec<(String, String)>,
}

/// An `Image` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedImage {
    /// What changed.
    pub change: ImageChange,
    /// The new image's manifest.
    pub digest: Option<String>,
    /// The commit that the new image was built from.
    pub source_commit: Option<String>,
}

/// The message of a deployment's commit.
#[must_use]
pub fn message(deployment: &Deployment, changes: &[ImageChange]) -> String {
    let subject = deployment
        .message
        .as_deref()
        .map(one_line)
        .filter(|subject| !subject.is_empty())
        .unwrap_or_else(|| subject(deployment, changes));
    let mut text = format!("{subject}\n\n");
    let mut trailer = |key: &str, value: &str| {
        let value = one_line(value);
        if !value.is_empty() {
            text.push_str(&format!("{key}: {value}\n"));
        }
    };
    trailer(DEPLOY_ID, &deployment.id);
    trailer(ENVIRONMENT, deployment.environment.as_str());
    let components = components(changes);
    trailer(COMPONENTS, &components.join(", "));
    for change in changes {
        let image = deployment
            .images
            .iter()
            .find(|image| image.target.component.as_str() == change.component);
        trailer(IMAGE, &image_line(change, image));
    }
    for (key, value) in &deployment.trailers {
        if is_key(key) {
            trailer(key, value);
        }
    }
    text
}

fn subject(deployment: &Deployment, changes: &[ImageChange]) -> String {
    let environment = &deployment.environment;
    match (components(changes).as_slice(), changes) {
        ([only], [first, ..]) => {
            let image = crate::image::ImageText::split(&first.to);
            let tag = image.tag.unwrap_or_default();
            format!("Deploy {only} {tag} to {environment}")
        }
        (several, _) => format!("Deploy {} components to {environment}", several.len()),
    }
}

/// The components of the changes, each once: several values may belong to one.
fn components(changes: &[ImageChange]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for change in changes {
        if !names.contains(&change.component.as_str()) {
            names.push(&change.component);
        }
    }
    names
}

fn image_line(change: &ImageChange, image: Option<&SetImage>) -> String {
    let mut line = format!(
        "{} {} -> {} at={}:{}",
        encode(&change.component),
        encode(&change.from),
        encode(&change.to),
        encode(&change.file),
        change.line
    );
    if let Some(digest) = image.and_then(|image| image.digest.as_ref()) {
        line.push_str(&format!(" digest={digest}"));
    }
    if let Some(commit) = image.and_then(|image| image.source_commit.as_ref()) {
        line.push_str(&format!(" source-commit={commit}"));
    }
    line
}

/// Reads a message. `None` where it is no deployment's.
#[must_use]
pub fn parse(message: &str) -> Option<DeployRecord> {
    let block = message.trim_end().rsplit("\n\n").next()?;
    let mut record = DeployRecord {
        id: String::new(),
        environment: String::new(),
        images: Vec::new(),
        trailers: Vec::new(),
    };
    for line in block.lines() {
        let (key, value) = line.split_once(": ")?;
        match key {
            DEPLOY_ID => record.id = value.to_owned(),
            ENVIRONMENT => record.environment = value.to_owned(),
            IMAGE => record.images.extend(parse_image(value)),
            _ => record.trailers.push((key.to_owned(), value.to_owned())),
        }
    }
    (!record.id.is_empty()).then_some(record)
}

fn parse_image(line: &str) -> Option<RecordedImage> {
    let mut words = line.split(' ');
    let component = decode(words.next()?);
    let from = decode(words.next()?);
    (words.next()? == "->").then_some(())?;
    let to = decode(words.next()?);
    let (file, line) = words.next()?.strip_prefix("at=")?.rsplit_once(':')?;
    let mut image = RecordedImage {
        change: ImageChange {
            component,
            file: decode(file),
            line: line.parse().ok()?,
            from,
            to,
        },
        digest: None,
        source_commit: None,
    };
    for word in words {
        if let Some(digest) = word.strip_prefix("digest=") {
            image.digest = Some(digest.to_owned());
        } else if let Some(commit) = word.strip_prefix("source-commit=") {
            image.source_commit = Some(commit.to_owned());
        }
    }
    Some(image)
}

/// A text without line breaks and control characters, so that it cannot begin a trailer of its own.
fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    spaced.trim().to_owned()
}

fn is_key(key: &str) -> bool {
    let own = [DEPLOY_ID, ENVIRONMENT, COMPONENTS, IMAGE];
    !key.is_empty()
        && !own.iter().any(|own| own.eq_ignore_ascii_case(key))
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for c in text.chars() {
        if c <= ' ' || c == '%' || c == '\u{7F}' {
            encoded.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use shipline_engine::backend::Target;
    use shipline_model::name::{CommitId, ComponentName, Digest, EnvironmentName, Tag};

    use super::*;

    fn deployment() -> Deployment {
        let digest = format!("sha256:{}", "a".repeat(64));
        let environment = EnvironmentName::new("staging").unwrap();
        Deployment {
            id: "20251215123456-a1b2c3".into(),
            environment: environment.clone(),
            images: vec![SetImage {
                target: Target::new(ComponentName::new("frontend").unwrap(), environment),
                name: None,
                tag: Tag::new("new").unwrap(),
                pinning: shipline_engine::backend::Pinning::AsBefore,
                digest: Some(Digest::new(digest).unwrap()),
                source_commit: Some(CommitId::new("b".repeat(40)).unwrap()),
            }],
            message: None,
            author: None,
            committer: None,
            trailers: vec![
                ("Run-Url".into(), "https://x/1".into()),
                ("Deploy-Id".into(), "forged".into()),
                ("bad key".into(), "x".into()),
                ("Note".into(), "two\nImage: forged".into()),
            ],
            time: 0,
        }
    }

    fn change(component: &str, from: &str) -> ImageChange {
        ImageChange {
            component: component.into(),
            file: "staging/frontend/deployment.yaml".into(),
            line: 23,
            from: from.into(),
            to: "r.io/frontend:new".into(),
        }
    }

    #[test]
    fn a_message_can_be_read_back() {
        let change = change("frontend", "r.io/frontend:50%  ü\t");
        let text = message(&deployment(), std::slice::from_ref(&change));
        let expected = format!(
            "Deploy frontend new to staging\n\n\
             Deploy-Id: 20251215123456-a1b2c3\n\
             Environment: staging\n\
             Components: frontend\n\
             Image: frontend r.io/frontend:50%25%20%20ü%09 -> r.io/frontend:new at=staging/frontend/deployment.yaml:23 digest=sha256:{} source-commit={}\n\
             Run-Url: https://x/1\n\
             Note: two Image: forged\n",
            "a".repeat(64),
            "b".repeat(40),
        );
        assert_eq!(text, expected);
        let record = parse(&text).unwrap();
        assert_eq!(record.id, "20251215123456-a1b2c3");
        assert_eq!(record.images.len(), 1);
        assert_eq!(record.images[0].change, change);
        assert_eq!(record.images[0].source_commit, Some("b".repeat(40)));
    }

    #[test]
    fn subjects() {
        let mut deployment = deployment();
        let changes = [change("frontend", "a"), change("user_service", "b")];
        let first = |deployment: &Deployment| {
            let text = message(deployment, &changes);
            text.lines().next().unwrap().to_owned()
        };
        assert_eq!(first(&deployment), "Deploy 2 components to staging");
        deployment.message = Some("Ship it\n\nDeploy-Id: x".into());
        assert_eq!(first(&deployment), "Ship it  Deploy-Id: x");
        deployment.message = Some(" \n".into());
        assert_eq!(first(&deployment), "Deploy 2 components to staging");
    }

    #[test]
    fn other_messages_are_no_records() {
        assert_eq!(parse("Fix it\n\nSigned-off-by: A <a@b>\n"), None);
        assert_eq!(parse("Deploy-Id: x\n\nBut not at the end\n"), None);
        assert_eq!(parse(""), None);
    }
}
