//! The API side: JSON 1.1 operations by `X-Amz-Target`. Signatures are not verified, but must be there.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lifecycle;
use super::server::{Answer, Asked, plain};
use super::state::{
    Expiry, ImageStatus, Manifest, Mutability, PutProblem, Repository, ScanOnPush, State, Upload,
    digest_of,
};

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.";
const JSON: &str = "application/x-amz-json-1.1";
/// Images that `BatchGetImage` takes in one request.
const MOST_IDS: usize = 100;

/// A refusal: exception and message.
pub(super) type Refused = (&'static str, String);

/// The operation that a request is for, if it is for the API.
pub(super) fn operation(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .strip_prefix(TARGET)
}

pub(super) fn error(status: StatusCode, name: &str, message: &str) -> Answer {
    let body = json!({ "__type": name, "message": message });
    plain(status, JSON, body.to_string().into())
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let caller = asked
        .header(&AUTHORIZATION)
        .and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 Credential="))
        .and_then(|text| text.split('/').next());
    if asked.method == Method::POST
        && let Some(caller) = caller
    {
        state.caller = Some(caller.to_owned());
    } else {
        return error(
            StatusCode::BAD_REQUEST,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        );
    }
    let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else {
        return error(
            StatusCode::BAD_REQUEST,
            "SerializationException",
            "Start of structure or map found where not expected.",
        );
    };
    let result = match operation(&asked.headers).unwrap_or_default() {
        "GetAuthorizationToken" => Ok(token(state)),
        "DescribeRepositories" => describe_repositories(state, &body),
        "CreateRepository" => create_repository(state, &body),
        "BatchCheckLayerAvailability" => check_layers(state, &body),
        "InitiateLayerUpload" => initiate(state, &body),
        "UploadLayerPart" => upload_part(state, &body),
        "CompleteLayerUpload" => complete(state, &body),
        "BatchGetImage" => batch_get(state, &body),
        "DescribeImages" => describe_images(state, &body),
        "ListImages" => list_images(state, &body),
        "PutImage" => put_image(state, &body),
        "PutLifecyclePolicy" => lifecycle::put(state, &body),
        "GetLifecyclePolicy" => lifecycle::get(state, &body),
        "StartLifecyclePolicyPreview" => lifecycle::start(state, &body),
        "GetLifecyclePolicyPreview" => lifecycle::preview(state, &body),
        other => Err((
            "UnknownOperationException",
            format!("The fake does not know {other}"),
        )),
    };
    match result {
        Ok(body) => plain(StatusCode::OK, JSON, body.to_string().into()),
        Err((name, message)) => error(StatusCode::BAD_REQUEST, name, &message),
    }
}

fn token(state: &mut State) -> Value {
    let (password, until) = state.issue_token();
    let until = match state.behaviour.expiry {
        Expiry::True => until,
        // 2015-01-01
        Expiry::Past => 1_420_070_400,
    };
    json!({ "authorizationData": [{
        "authorizationToken": STANDARD.encode(format!("AWS:{password}")),
        "expiresAt": until,
        "proxyEndpoint": format!("{}://{}", state.scheme, state.proxy_host),
    }] })
}

pub(super) fn text<'a>(body: &'a Value, key: &'static str) -> Result<&'a str, Refused> {
    body[key].as_str().ok_or_else(|| {
        (
            "InvalidParameterException",
            format!(
                "Invalid parameter at '{key}' failed to satisfy constraint: 'must not be null'"
            ),
        )
    })
}

fn list<'a>(body: &'a Value, key: &str) -> &'a [Value] {
    body[key].as_array().map_or(&[], Vec::as_slice)
}

fn no_repository(state: &State, name: &str) -> Refused {
    (
        "RepositoryNotFoundException",
        format!(
            "The repository with name '{name}' does not exist in the registry with id '{}'",
            state.account
        ),
    )
}

pub(super) fn repository<'a>(
    state: &'a State,
    body: &Value,
) -> Result<(String, &'a Repository), Refused> {
    let name = text(body, "repositoryName")?;
    match state.repositories.get(name) {
        Some(repository) => Ok((name.to_owned(), repository)),
        None => Err(no_repository(state, name)),
    }
}

fn described(state: &State, name: &str, repository: &Repository) -> Value {
    json!({
        "repositoryArn": format!("arn:aws:ecr:us-east-1:{}:repository/{name}", state.account),
        "registryId": state.account,
        "repositoryName": name,
        "repositoryUri": format!("{}/{name}", state.proxy_host),
        "createdAt": repository.created_at,
        "imageTagMutability": repository.mutability.word(),
        "imageScanningConfiguration": { "scanOnPush": repository.scan_on_push == ScanOnPush::Yes },
    })
}

fn describe_repositories(state: &State, body: &Value) -> Result<Value, Refused> {
    let names = list(body, "repositoryNames");
    let mut found = Vec::new();
    if names.is_empty() {
        for (name, repository) in &state.repositories {
            found.push(described(state, name, repository));
        }
    }
    for name in names.iter().filter_map(Value::as_str) {
        // One that is missing fails the whole call.
        let repository = state
            .repositories
            .get(name)
            .ok_or_else(|| no_repository(state, name))?;
        found.push(described(state, name, repository));
    }
    Ok(json!({ "repositories": found }))
}

fn create_repository(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let name = text(body, "repositoryName")?;
    let mutability = match body["imageTagMutability"].as_str() {
        Some("IMMUTABLE") => Mutability::Immutable,
        _ => Mutability::Mutable,
    };
    let scan = match body["imageScanningConfiguration"]["scanOnPush"].as_bool() {
        Some(true) => ScanOnPush::Yes,
        _ => ScanOnPush::No,
    };
    if !state.create(name, mutability, scan) {
        return Err((
            "RepositoryAlreadyExistsException",
            format!(
                "The repository with name '{name}' already exists in the registry with id '{}'",
                state.account
            ),
        ));
    }
    let (name, repository) = repository(state, body)?;
    Ok(json!({ "repository": described(state, &name, repository) }))
}

fn check_layers(state: &State, body: &Value) -> Result<Value, Refused> {
    let (_, repository) = repository(state, body)?;
    let layers: Vec<Value> = list(body, "layerDigests")
        .iter()
        .filter_map(Value::as_str)
        .map(|digest| match repository.blobs.get(digest) {
            Some(blob) => json!({ "layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": blob.len() }),
            None => json!({ "layerDigest": digest, "layerAvailability": "UNAVAILABLE" }),
        })
        .collect();
    Ok(json!({ "layers": layers, "failures": [] }))
}

fn initiate(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let (name, _) = repository(state, body)?;
    let id = format!("upload-{}", state.next_serial());
    state.uploads.insert(
        id.clone(),
        Upload {
            repository: name,
            parts: Vec::new(),
            bytes: Vec::new(),
        },
    );
    Ok(json!({ "uploadId": id, "partSize": 10 << 20 }))
}

fn no_upload(id: &str) -> Refused {
    (
        "UploadNotFoundException",
        format!("The upload with id '{id}' could not be found"),
    )
}

fn upload_part(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let id = text(body, "uploadId")?;
    let part = STANDARD
        .decode(text(body, "layerPartBlob")?)
        .map_err(|error| ("SerializationException", error.to_string()))?;
    let upload = state.uploads.get_mut(id).ok_or_else(|| no_upload(id))?;
    upload.parts.push(part.len());
    upload.bytes.extend_from_slice(&part);
    Ok(json!({ "uploadId": id, "lastByteReceived": upload.bytes.len().saturating_sub(1) }))
}

fn complete(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let (name, _) = repository(state, body)?;
    let id = text(body, "uploadId")?;
    let upload = state.uploads.remove(id).ok_or_else(|| no_upload(id))?;
    let digest = digest_of(&upload.bytes);
    if !list(body, "layerDigests").contains(&json!(digest)) {
        return Err((
            "InvalidLayerException",
            "The layer digest did not match the uploaded layer".to_owned(),
        ));
    }
    let there = state.repositories.get_mut(&name).and_then(|repository| {
        repository
            .blobs
            .insert(digest.clone(), Bytes::from(upload.bytes))
    });
    if there.is_some() {
        return Err((
            "LayerAlreadyExistsException",
            format!("Layer with digest '{digest}' already exists"),
        ));
    }
    Ok(json!({ "repositoryName": name, "uploadId": id, "layerDigest": digest }))
}

/// What an image ID names: digest and manifest, or code and reason of the failure.
fn find<'a>(
    repository: &'a Repository,
    id: &Value,
) -> Result<(String, &'a Manifest), (&'static str, &'static str)> {
    let missing = ("ImageNotFound", "Requested image not found");
    let by_tag = id["imageTag"]
        .as_str()
        .map(|tag| repository.tags.get(tag).cloned());
    let digest = match (by_tag, id["imageDigest"].as_str()) {
        (Some(None), _) | (None, None) => return Err(missing),
        (Some(Some(named)), Some(digest)) if named != digest => {
            return Err((
                "ImageTagDoesNotMatchDigest",
                "The image tag does not match the digest",
            ));
        }
        (Some(Some(named)), _) => named,
        (None, Some(digest)) => digest.to_owned(),
    };
    let manifest = repository.manifests.get(&digest).ok_or(missing)?;
    Ok((digest, manifest))
}

fn image_id(digest: &str, tag: &Value) -> Value {
    let mut id = json!({ "imageDigest": digest });
    if tag.is_string() {
        id["imageTag"] = tag.clone();
    }
    id
}

fn batch_get(state: &State, body: &Value) -> Result<Value, Refused> {
    let (name, repository) = repository(state, body)?;
    let ids = list(body, "imageIds");
    if ids.is_empty() || ids.len() > MOST_IDS {
        return Err((
            "InvalidParameterException",
            format!(
                "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length between 1 and {MOST_IDS}'"
            ),
        ));
    }
    let accepted = list(body, "acceptedMediaTypes");
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        match find(repository, id) {
            Ok((_, manifest)) if manifest.status == ImageStatus::Archived => {
                failures.push(json!({ "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found" }));
            }
            Ok((_, manifest)) if manifest.status == ImageStatus::Activating => {
                failures.push(json!({ "imageId": id, "failureCode": "ImageInaccessible", "failureReason": "Requested image is not accessible" }));
            }
            Ok((_, manifest)) if !accepted.contains(&json!(manifest.media_type)) => {
                // An index for which nobody asked is answered as the image of one platform.
                let child = first_child(repository, manifest);
                match child.filter(|(_, child)| accepted.contains(&json!(child.media_type))) {
                    Some((digest, child)) => images.push(json!({
                        "registryId": state.account,
                        "repositoryName": name,
                        "imageId": image_id(&digest, &id["imageTag"]),
                        "imageManifest": String::from_utf8_lossy(&child.bytes),
                        "imageManifestMediaType": child.media_type,
                    })),
                    None => failures.push(json!({ "imageId": id, "failureCode": "UnsupportedImageType", "failureReason": "The image's media type was not accepted" })),
                }
            }
            Ok((digest, manifest)) => images.push(json!({
                "registryId": state.account,
                "repositoryName": name,
                "imageId": image_id(&digest, &id["imageTag"]),
                "imageManifest": String::from_utf8_lossy(&manifest.bytes),
                "imageManifestMediaType": manifest.media_type,
            })),
            Err((code, reason)) => {
                failures
                    .push(json!({ "imageId": id, "failureCode": code, "failureReason": reason }));
            }
        }
    }
    Ok(json!({ "images": images, "failures": failures }))
}

/// The first image of an index.
fn first_child<'a>(repository: &'a Repository, index: &Manifest) -> Option<(String, &'a Manifest)> {
    let document: Value = serde_json::from_slice(&index.bytes).ok()?;
    let digest = document["manifests"][0]["digest"].as_str()?;
    Some((digest.to_owned(), repository.manifests.get(digest)?))
}

fn detail(state: &State, name: &str, repository: &Repository, digest: &str) -> Value {
    let manifest = &repository.manifests[digest];
    let mut detail = json!({
        "registryId": state.account,
        "repositoryName": name,
        "imageDigest": digest,
        "imageSizeInBytes": manifest.bytes.len(),
        "imagePushedAt": manifest.pushed_at,
        "imageManifestMediaType": manifest.media_type,
        "imageStatus": manifest.status.word(),
    });
    let tags = repository.tags_of(digest);
    if !tags.is_empty() {
        detail["imageTags"] = json!(tags);
    }
    detail
}

fn describe_images(state: &State, body: &Value) -> Result<Value, Refused> {
    let (name, repository) = repository(state, body)?;
    let ids = list(body, "imageIds");
    let mut details = Vec::new();
    if ids.is_empty() {
        return Ok(all_images(state, body, &name, repository));
    }
    for id in ids {
        // One that is missing fails the whole call.
        let (digest, _) = find(repository, id).map_err(|_| {
            let part = |key: &str| id[key].as_str().unwrap_or("null").to_owned();
            (
                "ImageNotFoundException",
                format!(
                    "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with name '{name}' in the registry with id '{}'",
                    part("imageDigest"),
                    part("imageTag"),
                    state.account
                ),
            )
        })?;
        details.push(detail(state, &name, repository, &digest));
    }
    Ok(json!({ "imageDetails": details }))
}

/// One page of a repository's images.
fn all_images(state: &State, body: &Value, name: &str, repository: &Repository) -> Value {
    let size = body["maxResults"]
        .as_u64()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(100);
    let from = body["nextToken"].as_str().unwrap_or_default();
    let wanted = |digest: &str| match body["filter"]["tagStatus"].as_str() {
        Some("TAGGED") => !repository.tags_of(digest).is_empty(),
        Some("UNTAGGED") => repository.tags_of(digest).is_empty(),
        _ => true,
    };
    let mut digests: Vec<&String> = repository
        .manifests
        .keys()
        .filter(|digest| digest.as_str() > from && wanted(digest))
        .take(size + 1)
        .collect();
    let mut answer = json!({});
    if digests.len() > size {
        digests.truncate(size);
        answer["nextToken"] = json!(digests.last());
    }
    let details: Vec<Value> = digests
        .iter()
        .map(|digest| detail(state, name, repository, digest))
        .collect();
    answer["imageDetails"] = json!(details);
    answer
}

fn list_images(state: &State, body: &Value) -> Result<Value, Refused> {
    let (_, repository) = repository(state, body)?;
    let size = body["maxResults"]
        .as_u64()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(100);
    let from = body["nextToken"].as_str().unwrap_or_default();
    let mut ids: Vec<Value> = repository
        .tags
        .iter()
        .filter(|(tag, _)| tag.as_str() > from)
        .take(size + 1)
        .map(|(tag, digest)| json!({ "imageDigest": digest, "imageTag": tag }))
        .collect();
    let mut answer = json!({});
    if ids.len() > size {
        ids.truncate(size);
        if let Some(last) = ids.last() {
            answer["nextToken"] = last["imageTag"].clone();
        }
    }
    answer["imageIds"] = Value::Array(ids);
    Ok(answer)
}

fn put_image(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let name = text(body, "repositoryName")?.to_owned();
    let manifest = Bytes::from(text(body, "imageManifest")?.to_owned());
    let own = serde_json::from_slice::<Value>(&manifest).unwrap_or_default();
    let media_type = body["imageManifestMediaType"]
        .as_str()
        .or(own["mediaType"].as_str())
        .unwrap_or("application/vnd.docker.distribution.manifest.v2+json")
        .to_owned();
    let tag = body["imageTag"].as_str();
    let result = state.put_manifest(
        &name,
        &manifest,
        &media_type,
        tag,
        body["imageDigest"].as_str(),
    );
    let image = |digest: &str| {
        format!(
            "Image with digest '{digest}' and tag '{}' already exists in the repository with name '{name}' in registry with id '{}'",
            tag.unwrap_or("null"),
            state.account
        )
    };
    match result {
        Ok(digest) => Ok(json!({ "image": {
            "registryId": state.account,
            "repositoryName": name,
            "imageId": image_id(&digest, &body["imageTag"]),
            "imageManifest": String::from_utf8_lossy(&manifest),
            "imageManifestMediaType": media_type,
        } })),
        Err(PutProblem::NoRepository) => Err(no_repository(state, &name)),
        Err(PutProblem::AlreadyThere(digest)) => {
            Err(("ImageAlreadyExistsException", image(&digest)))
        }
        Err(PutProblem::ImmutableTag(_)) => Err((
            "ImageTagAlreadyExistsException",
            format!(
                "The image tag '{}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable.",
                tag.unwrap_or_default()
            ),
        )),
        Err(PutProblem::OtherDigest(_)) => Err((
            "ImageDigestDoesNotMatchException",
            "The specified image digest does not match the digest that Amazon ECR calculated for the image.".to_owned(),
        )),
        Err(PutProblem::NotJson) => Err((
            "InvalidParameterException",
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'".to_owned(),
        )),
        Err(PutProblem::Artifact) => Err((
            "UnsupportedImageTypeException",
            "The image is of a type that is not supported.".to_owned(),
        )),
        Err(PutProblem::Missing(missing)) => Err((
            "LayersNotFoundException",
            format!("The following layers were not found: {missing:?}"),
        )),
    }
}
