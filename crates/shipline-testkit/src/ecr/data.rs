//! The registry side (`/v2/`): the OCI distribution specification as ECR does it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, LOCATION, RANGE,
    WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::bearer;
use super::referrers::{self, OCI_SUBJECT, Referrers};
use super::server::{Answer, Asked, DOCKER_CONTENT_DIGEST, plain};
use super::state::{ImageStatus, Login, Mounting, PutProblem, State, Upload, digest_of};

/// Every part of an upload but the last is at least so long.
const SMALLEST_PART: usize = 5 << 20;
/// Tags on one page of a list.
const PAGE: usize = 1000;

/// An error document of the distribution specification.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": message }] });
    plain(status, "application/json", body.to_string().into())
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let authorised = match state.behaviour.login {
        Login::Basic => authorise(state, asked),
        Login::Bearer => bearer::authorise(state, asked),
    };
    if let Err(answer) = authorised {
        return *answer;
    }
    let Some(path) = asked.path.strip_prefix("/v2") else {
        return plain(StatusCode::NOT_FOUND, "text/plain", "not found".into());
    };
    let path = path.trim_start_matches('/').to_owned();
    if path.is_empty() {
        return plain(StatusCode::OK, "application/json", "{}".into());
    }
    for (middle, serve) in [
        (
            "/blobs/uploads/",
            upload as fn(&mut State, &Asked, &str, &str) -> Answer,
        ),
        ("/blobs/", blob),
        ("/manifests/", manifest),
        ("/tags/list", tags),
        ("/referrers/", referrers::answer),
    ] {
        if let Some((name, rest)) = path.split_once(middle) {
            if !state.repositories.contains_key(name) {
                return no_repository(state, name);
            }
            return serve(state, asked, name, rest);
        }
    }
    plain(StatusCode::NOT_FOUND, "text/plain", "not found".into())
}

fn no_repository(state: &State, name: &str) -> Answer {
    error(
        StatusCode::NOT_FOUND,
        "NAME_UNKNOWN",
        &format!(
            "The repository with name '{name}' does not exist in the registry with id '{}'",
            state.account
        ),
    )
}

fn authorise(state: &State, asked: &Asked) -> Result<(), Box<Answer>> {
    let password = asked
        .header(&AUTHORIZATION)
        .and_then(|text| text.strip_prefix("Basic "))
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|login| login.strip_prefix("AWS:").map(str::to_owned));
    let until = password.and_then(|password| state.token(&password));
    match until {
        Some(until) if until > state.now() => Ok(()),
        Some(_) => Err(Box::new(error(
            StatusCode::FORBIDDEN,
            "DENIED",
            "Your authorization token has expired. Reauthenticate and try again.",
        ))),
        None => {
            let mut answer = plain(
                StatusCode::UNAUTHORIZED,
                "text/plain",
                "Not Authorized\n".into(),
            );
            let challenge = format!(
                "Basic realm=\"{}://{}/\",service=\"ecr.amazonaws.com\"",
                state.scheme, state.proxy_host
            );
            set(&mut answer, WWW_AUTHENTICATE, &challenge);
            Err(Box::new(answer))
        }
    }
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

fn unsupported() -> Answer {
    error(
        StatusCode::METHOD_NOT_ALLOWED,
        "UNSUPPORTED",
        "The operation is unsupported.",
    )
}

/// Body, or only its length, as the method wants it.
fn content(asked: &Asked, digest: &str, media_type: &str, bytes: &Bytes) -> Answer {
    let mut answer = if asked.method == Method::HEAD {
        let mut answer = empty(StatusCode::OK);
        set(&mut answer, CONTENT_LENGTH, &bytes.len().to_string());
        answer
    } else {
        Response::new(Full::new(bytes.clone()))
    };
    set(&mut answer, DOCKER_CONTENT_DIGEST, digest);
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

fn blob(state: &mut State, asked: &Asked, name: &str, digest: &str) -> Answer {
    let found = state
        .repositories
        .get(name)
        .and_then(|repository| repository.blobs.get(digest));
    match (&asked.method, found) {
        (&Method::HEAD | &Method::GET, None) => error(
            StatusCode::NOT_FOUND,
            "BLOB_UNKNOWN",
            "blob unknown to registry",
        ),
        (&Method::GET, Some(bytes)) if asked.header(&RANGE).is_some() => {
            let from = asked
                .header(&RANGE)
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
                .and_then(|from| from.parse::<usize>().ok())
                .filter(|from| *from < bytes.len());
            match from {
                Some(from) => {
                    let mut answer = content(
                        asked,
                        digest,
                        "application/octet-stream",
                        &bytes.slice(from..),
                    );
                    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                    answer
                }
                None => empty(StatusCode::RANGE_NOT_SATISFIABLE),
            }
        }
        (&Method::HEAD | &Method::GET, Some(bytes)) => {
            content(asked, digest, "application/octet-stream", bytes)
        }
        _ => unsupported(),
    }
}

fn upload(state: &mut State, asked: &Asked, name: &str, id: &str) -> Answer {
    match asked.method {
        Method::POST if id.is_empty() => {
            if let Some(answer) = mount(state, asked, name) {
                return answer;
            }
            let id = format!("upload-{}", state.next_serial());
            state.uploads.insert(
                id.clone(),
                Upload {
                    repository: name.to_owned(),
                    parts: Vec::new(),
                    bytes: Vec::new(),
                },
            );
            located(name, &id, StatusCode::ACCEPTED)
        }
        Method::PATCH => part(state, asked, name, id),
        Method::PUT => finish(state, asked, name, id),
        _ => unsupported(),
    }
}

/// Takes a blob over from another repository, if the account allows it and an image there has it.
fn mount(state: &mut State, asked: &Asked, name: &str) -> Option<Answer> {
    if state.behaviour.mounting == Mounting::Disabled {
        return None;
    }
    let digest = asked.parameter("mount")?;
    let from = state.repositories.get(&asked.parameter("from")?)?;
    from.manifests
        .values()
        .find(|manifest| String::from_utf8_lossy(&manifest.bytes).contains(&digest))?;
    let blob = from.blobs.get(&digest)?.clone();
    let repository = state.repositories.get_mut(name)?;
    repository.blobs.insert(digest.clone(), blob);
    let mut answer = empty(StatusCode::CREATED);
    set(&mut answer, DOCKER_CONTENT_DIGEST, &digest);
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    Some(answer)
}

fn located(name: &str, id: &str, status: StatusCode) -> Answer {
    let mut answer = empty(status);
    set(
        &mut answer,
        LOCATION,
        &format!("/v2/{name}/blobs/uploads/{id}?state=x%2By"),
    );
    answer
}

fn no_upload() -> Answer {
    error(
        StatusCode::NOT_FOUND,
        "BLOB_UPLOAD_UNKNOWN",
        "blob upload unknown to registry",
    )
}

/// Keeps a part. What comes after the first is lost, as ECR loses it; a part after one that is too short is refused.
fn add_part(upload: &mut Upload, body: &Bytes) -> Result<(), Box<Answer>> {
    if upload
        .parts
        .last()
        .is_some_and(|last| *last < SMALLEST_PART)
    {
        return Err(Box::new(error(
            StatusCode::BAD_REQUEST,
            "BLOB_UPLOAD_INVALID",
            "All layer parts except the last part should be at least 5MB",
        )));
    }
    if upload.parts.is_empty() {
        upload.bytes.extend_from_slice(body);
    }
    upload.parts.push(body.len());
    Ok(())
}

fn part(state: &mut State, asked: &Asked, name: &str, id: &str) -> Answer {
    let Some(upload) = state
        .uploads
        .get_mut(id)
        .filter(|upload| upload.repository == name)
    else {
        return no_upload();
    };
    match add_part(upload, &asked.body) {
        Ok(()) => {
            let last = upload.bytes.len().saturating_sub(1);
            // ECR answers 201 where the specification says 202.
            let mut answer = located(name, id, StatusCode::CREATED);
            // Docker's engine takes an answer without it for one that broke off.
            set(&mut answer, RANGE, &format!("0-{last}"));
            answer
        }
        Err(answer) => *answer,
    }
}

fn finish(state: &mut State, asked: &Asked, name: &str, id: &str) -> Answer {
    let Some(wanted) = asked.parameter("digest") else {
        return error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    };
    if asked.parameter("state").as_deref() != Some("x+y") {
        return no_upload();
    }
    let Some(mut upload) = state
        .uploads
        .remove(id)
        .filter(|upload| upload.repository == name)
    else {
        return no_upload();
    };
    if !asked.body.is_empty()
        && let Err(answer) = add_part(&mut upload, &asked.body)
    {
        return *answer;
    }
    let found = digest_of(&upload.bytes);
    if found != wanted {
        return error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    if let Some(repository) = state.repositories.get_mut(name) {
        repository.blobs.insert(found.clone(), upload.bytes.into());
    }
    let mut answer = empty(StatusCode::CREATED);
    set(&mut answer, DOCKER_CONTENT_DIGEST, &found);
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/{found}"));
    answer
}

fn manifest(state: &mut State, asked: &Asked, name: &str, reference: &str) -> Answer {
    match asked.method {
        Method::HEAD | Method::GET => {
            let found = state.repositories.get(name).and_then(|repository| {
                let digest = repository.resolve(reference)?;
                let manifest = repository.manifests.get(&digest)?;
                (manifest.status == ImageStatus::Active).then_some((digest, manifest))
            });
            match found {
                Some((digest, manifest)) => {
                    content(asked, &digest, &manifest.media_type, &manifest.bytes)
                }
                None => error(
                    StatusCode::NOT_FOUND,
                    "MANIFEST_UNKNOWN",
                    "Requested image not found",
                ),
            }
        }
        Method::PUT => put_manifest(state, asked, name, reference),
        _ => unsupported(),
    }
}

fn put_manifest(state: &mut State, asked: &Asked, name: &str, reference: &str) -> Answer {
    let (tag, digest) = if reference.starts_with("sha256:") {
        (None, Some(reference))
    } else {
        (Some(reference), None)
    };
    let media_type = asked.header(&CONTENT_TYPE).unwrap_or_default().to_owned();
    match state.put_manifest(name, &asked.body, &media_type, tag, digest) {
        Ok(digest) => {
            let mut answer = empty(StatusCode::CREATED);
            set(&mut answer, DOCKER_CONTENT_DIGEST, &digest);
            set(
                &mut answer,
                LOCATION,
                &format!("/v2/{name}/manifests/{digest}"),
            );
            if state.behaviour.referrers == Referrers::Listed
                && let Some(subject) = referrers::subject(&asked.body)
            {
                set(&mut answer, OCI_SUBJECT, &subject);
            }
            answer
        }
        // Even the same image under the same tag is refused where tags are immutable.
        Err(PutProblem::ImmutableTag(_)) => immutable(name, reference),
        Err(PutProblem::AlreadyThere(digest)) => {
            let immutable_tags = state
                .repositories
                .get(name)
                .is_some_and(|r| r.mutability == super::Mutability::Immutable);
            if immutable_tags {
                return immutable(name, reference);
            }
            let mut answer = empty(StatusCode::CREATED);
            set(&mut answer, DOCKER_CONTENT_DIGEST, &digest);
            answer
        }
        Err(PutProblem::NoRepository) => no_repository(state, name),
        Err(PutProblem::NotJson | PutProblem::Artifact) => error(
            StatusCode::BAD_REQUEST,
            "MANIFEST_INVALID",
            "manifest invalid",
        ),
        Err(PutProblem::OtherDigest(_)) => error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        ),
        Err(PutProblem::Missing(missing)) => error(
            StatusCode::NOT_FOUND,
            "MANIFEST_BLOB_UNKNOWN",
            &format!("Layers with digests '{missing:?}' required for pushing image do not exist"),
        ),
    }
}

fn immutable(name: &str, tag: &str) -> Answer {
    error(
        StatusCode::BAD_REQUEST,
        "TAG_INVALID",
        &format!(
            "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
        ),
    )
}

fn tags(state: &mut State, asked: &Asked, name: &str, _rest: &str) -> Answer {
    if asked.method != Method::GET {
        return unsupported();
    }
    let page = asked
        .parameter("n")
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(PAGE)
        .clamp(1, PAGE);
    let last = asked.parameter("last");
    let all: Vec<&String> = state
        .repositories
        .get(name)
        .into_iter()
        .flat_map(|repository| repository.tags.keys())
        .filter(|tag| last.as_ref().is_none_or(|last| *tag > last))
        .collect();
    let shown = &all[..all.len().min(page)];
    let body = json!({ "name": name, "tags": shown });
    let mut answer = plain(StatusCode::OK, "application/json", body.to_string().into());
    if all.len() > shown.len()
        && let Some(last) = shown.last()
    {
        let next = format!("</v2/{name}/tags/list?n={page}&last={last}>; rel=\"next\"");
        set(&mut answer, LINK, &next);
    }
    answer
}
