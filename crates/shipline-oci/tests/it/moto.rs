//! The ECR API's wire format in moto's reading of it: a second opinion on our client, and on our own fake.

use serde_json::{Value, json};
use shipline_engine::backend::{Reference, Registry, TagOutcome};
use shipline_engine::error::ErrorClass;
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::image::{OCI_MANIFEST, digest_of};
use shipline_oci::registry::ecr::{EcrSettings, MissingRepositories};
use shipline_testkit::contract::registry::{Task, request};
use shipline_testkit::ecr::{FakeEcr, Options};
use shipline_testkit::service::{DockerRegistry, Moto, RegistryAccess};

use crate::distribution::once;
use crate::ecr::{ecr, settings};
use crate::support::foreign;

/// As Python writes it: moto writes manifests anew, and gives these bytes back.
fn manifest(text: &str) -> String {
    format!(
        r#"{{"schemaVersion": 2, "mediaType": "{OCI_MANIFEST}", "layers": [], "annotations": {{"text": "{text}"}}}}"#
    )
}

fn digest(text: &str) -> Digest {
    digest_of(manifest(text).as_bytes())
}

/// The API as it is on the wire, without an SDK in between.
struct Wire {
    url: String,
}

impl Wire {
    fn new(url: String) -> Self {
        Self { url }
    }

    /// The answer, or the name of the exception.
    async fn call(&self, operation: &str, body: Value) -> Result<Value, String> {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
            // Neither of them verifies signatures; moto reads service and region out of it.
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/ecr/aws4_request, SignedHeaders=host, Signature=0",
            ),
        ];
        let answer = foreign("POST", &self.url, &headers, body.to_string()).await;
        let good = answer.status().is_success();
        let answer: Value = serde_json::from_slice(answer.body()).unwrap();
        if good {
            return Ok(answer);
        }
        let name = answer["__type"].as_str().unwrap();
        Err(name.rsplit('#').next().unwrap().to_owned())
    }

    async fn put(&self, repository: &str, text: &str, tag: &str) -> Result<Value, String> {
        self.call(
            "PutImage",
            json!({
                "repositoryName": repository,
                "imageManifest": manifest(text),
                "imageManifestMediaType": OCI_MANIFEST,
                // Else moto makes up a digest of its own.
                "imageDigest": digest(text).as_str(),
                "imageTag": tag,
            }),
        )
        .await
    }

    /// What the API says of everything that our client goes by.
    async fn semantics(&self) -> Vec<(&'static str, String)> {
        let there = json!([{ "imageTag": "there" }]);
        let mixed = json!([{ "imageTag": "there" }, { "imageTag": "missing" }]);
        let mut said = Vec::new();
        let mut say = |what, result: Result<Value, String>, read: &dyn Fn(&Value) -> Value| {
            said.push((
                what,
                result.map_or_else(|name| name, |value| read(&value).to_string()),
            ));
        };
        let whole = |_: &Value| json!("well");
        let nowhere = |ids: &Value| json!({ "repositoryName": "nowhere", "imageIds": ids });
        let names = json!({ "repositoryNames": ["nowhere"] });
        say(
            "missing repository",
            self.call("DescribeRepositories", names).await,
            &whole,
        );
        say(
            "images of none",
            self.call("BatchGetImage", nowhere(&there)).await,
            &whole,
        );
        say(
            "description of none",
            self.call("DescribeImages", nowhere(&there)).await,
            &whole,
        );
        let create = json!({
            "repositoryName": "a/b",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": { "scanOnPush": true },
        });
        say(
            "created",
            self.call("CreateRepository", create.clone()).await,
            &|answer| {
                let repository = &answer["repository"];
                json!([
                    repository["repositoryName"],
                    repository["imageTagMutability"],
                    repository["imageScanningConfiguration"]["scanOnPush"],
                ])
            },
        );
        say(
            "created again",
            self.call("CreateRepository", create).await,
            &whole,
        );
        say(
            "an image",
            self.put("a/b", "one", "there").await,
            &|answer| {
                json!([
                    answer["image"]["imageId"],
                    answer["image"]["imageManifestMediaType"]
                ])
            },
        );
        say(
            "the same again",
            self.put("a/b", "one", "there").await,
            &whole,
        );
        let ids = |ids: &Value| json!({ "repositoryName": "a/b", "imageIds": ids, "acceptedMediaTypes": [OCI_MANIFEST] });
        say(
            "one of two",
            self.call("BatchGetImage", ids(&mixed)).await,
            &|answer| {
                json!([
                    answer["images"][0]["imageId"]["imageDigest"],
                    answer["images"][0]["imageManifest"],
                    answer["images"].as_array().unwrap().len(),
                    answer["failures"][0]["failureCode"],
                    answer["failures"].as_array().unwrap().len(),
                ])
            },
        );
        let ids = |ids: &Value| json!({ "repositoryName": "a/b", "imageIds": ids });
        say(
            "description of one",
            self.call("DescribeImages", ids(&there)).await,
            &|answer| {
                let image = &answer["imageDetails"][0];
                json!([
                    image["imageDigest"],
                    image["imageTags"],
                    image["imagePushedAt"].is_number()
                ])
            },
        );
        say(
            "description of two",
            self.call("DescribeImages", ids(&mixed)).await,
            &whole,
        );
        let name = json!({ "repositoryName": "a/b" });
        say(
            "no policy",
            self.call("GetLifecyclePolicy", name).await,
            &whole,
        );
        said
    }
}

#[tokio::test]
async fn our_fake_says_what_moto_says() {
    let Some(moto) = Moto::start().unwrap() else {
        return;
    };
    let fake = FakeEcr::start(Options::default()).await.unwrap();
    let theirs = Wire::new(moto.url()).semantics().await;
    let ours = Wire::new(fake.url()).semantics().await;
    assert_eq!(ours, theirs);
    let said = |what: &str| {
        let found = ours.iter().find(|(known, _)| *known == what);
        found.map(|(_, said)| said.as_str()).unwrap()
    };
    // Not only alike, but as ECR's documentation has it.
    assert_eq!(said("missing repository"), "RepositoryNotFoundException");
    assert_eq!(said("created again"), "RepositoryAlreadyExistsException");
    assert_eq!(said("the same again"), "ImageAlreadyExistsException");
    assert_eq!(said("description of two"), "ImageNotFoundException");
    assert!(said("one of two").ends_with(r#",1,"ImageNotFound",1]"#));
}

#[tokio::test]
async fn the_client_understands_moto() {
    let (Some(moto), Some(data)) = (
        Moto::start().unwrap(),
        DockerRegistry::start(RegistryAccess::Open).unwrap(),
    ) else {
        return;
    };
    // The job's identity comes from the fake's STS; everything else is moto's, and blobs go to a registry that asks for no login.
    let fake = FakeEcr::start(Options::default()).await.unwrap();
    let with = |missing| EcrSettings {
        endpoint: Some(moto.url()),
        registry_endpoint: Some(format!("http://{}", data.host())),
        missing,
        ..settings(&fake)
    };
    let registry = ecr(with(MissingRepositories::Refused), once()).await;
    let name: RepositoryName = "team/frontend".parse().unwrap();
    let tag = |text: &str| Reference::Tag(text.to_owned());
    assert_eq!(registry.resolve(&name, &tag("x")).await.unwrap(), None);
    assert_eq!(registry.details(&name, &tag("x")).await.unwrap(), None);
    assert_eq!(registry.tags(&name).await.unwrap(), Vec::<String>::new());
    assert_eq!(registry.expiring(&name).await.unwrap(), []);
    let names = std::slice::from_ref(&name);
    let error = registry.preflight(names).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error:?}");

    let creating = ecr(with(MissingRepositories::Created), once()).await;
    creating.preflight(names).await.unwrap();
    creating.preflight(names).await.unwrap();
    let wire = Wire::new(moto.url());
    let asked = json!({ "repositoryNames": ["team/frontend"] });
    let described = wire.call("DescribeRepositories", asked).await.unwrap();
    let described = &described["repositories"][0];
    assert_eq!(described["imageTagMutability"], "IMMUTABLE");
    assert_eq!(described["imageScanningConfiguration"]["scanOnPush"], true);

    wire.put("team/frontend", "one", "there").await.unwrap();
    wire.put("team/frontend", "two", "other").await.unwrap();
    let found = registry
        .resolve(&name, &tag("there"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.digest, digest("one"));
    let details = registry
        .details(&name, &tag("there"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(details.tags, ["there"]);
    assert!(
        details.pushed_at.is_some() && details.pullable.is_ok(),
        "{details:?}"
    );
    assert_eq!(
        registry.details(&name, &tag("missing")).await.unwrap(),
        None
    );
    assert_eq!(registry.tags(&name).await.unwrap(), ["other", "there"]);

    // Partial failures of one request: a tag that is there, one that is not, and two digests.
    let task = Task::default();
    let requests = [
        request(&name, "there", &digest("one")),
        request(&name, "new", &digest("two")),
    ];
    let outcomes = registry.tag(&requests, &task.context).await.unwrap();
    assert_eq!(outcomes, [TagOutcome::AlreadyThere, TagOutcome::Set]);
    let found = registry.resolve(&name, &tag("new")).await.unwrap().unwrap();
    assert_eq!(found.digest, digest("two"));
    let conflict = [request(&name, "there", &digest("two"))];
    let error = registry.tag(&conflict, &task.context).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    let missing = [request(&name, "x", &digest("three"))];
    let error = registry.tag(&missing, &task.context).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
}
