//! Registries as they are: each row is one thing that some registry, or a proxy in front of one, does and the specification does
//! not say. Either the push, the list and the pull work all the same, or the error says what to do.

use std::sync::Arc;

use shipline_engine::backend::{ImageStore, Reference, Registry};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_http::HttpSettings;
use shipline_http::RetryPolicy;
use shipline_oci::credentials::Credentials;
use shipline_oci::store::LayoutStore;
use shipline_testkit::contract::registry::Task;
use shipline_testkit::ecr::{
    Behaviour, Effect, FakeEcr, Fault, Login, Mutability, Options, Quirk, Reply, TestCertificate,
    When,
};

use crate::distribution::{Push, client, login, patient};

/// How it ends.
enum End {
    /// As if nothing were odd.
    Works,
    /// With this class, and these parts in the error, its causes and its hints.
    Fails(ErrorClass, &'static [&'static str]),
}

/// How the registry is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

use End::{Fails, Works};
use ErrorClass::{Denied, Invalid, Retryable};
use Login::{Basic, Bearer};
use Wire::{Plain, Tls};

/// An error with its causes and hints.
fn told(error: &BackendError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    format!("{text}; {}", error.hints.join(" "))
}

async fn start(quirks: Vec<Quirk>, login: Login, wire: Wire, ca: &std::path::Path) -> FakeEcr {
    let certificate = TestCertificate::new(&["127.0.0.1"]).unwrap();
    FakeEcr::write_ca(&certificate, ca).unwrap();
    let fake = FakeEcr::start(Options {
        tls: (wire == Tls).then_some(certificate),
        behaviour: Behaviour {
            login,
            quirks,
            ..Behaviour::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    fake.create("team/frontend", Mutability::Mutable);
    fake.create("user_service", Mutability::Mutable);
    fake
}

async fn use_it(
    fake: &FakeEcr,
    ca: &std::path::Path,
    credentials: Credentials,
    retries: RetryPolicy,
) -> Result<(), BackendError> {
    let directory = tempfile::tempdir().unwrap();
    let settings = HttpSettings {
        roots: vec![ca.to_owned()],
        ..HttpSettings::default()
    };
    let registry = client(&fake.url(), credentials, &settings, retries);
    let push = Push::new(&directory);
    let repositories = push
        .images
        .each_ref()
        .map(|(repository, _)| repository.clone());
    registry.preflight(&repositories).await?;
    push.run(&registry).await?;
    // The next run finds everything.
    push.run(&registry).await?;
    let (repository, digest) = &push.images[0];
    let tags = registry.tags(repository).await?;
    assert_eq!(tags, ["tag"]);
    let tag = Reference::Tag("tag".to_owned());
    let (descriptor, bytes) = registry.manifest(repository, &tag).await?.unwrap();
    assert_eq!(descriptor.digest, *digest);
    let empty = LayoutStore::open(directory.path().join("empty"), Faults::none()).unwrap();
    let empty: Arc<dyn ImageStore> = Arc::new(empty);
    registry
        .pull(
            repository,
            &descriptor.media_type,
            bytes,
            &empty,
            &Task::default().context,
        )
        .await?;
    assert!(empty.is_whole(digest).unwrap());
    push.check(fake, true, "odd");
    Ok(())
}

async fn check(what: &str, quirks: Vec<Quirk>, kind: Login, wire: Wire, end: End) {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let fake = start(quirks, kind, wire, &ca).await;
    let used = use_it(&fake, &ca, login("AWS", fake.token()), patient()).await;
    match (used, end) {
        (Ok(()), Works) => {}
        (Ok(()), Fails(..)) => panic!("{what}: it worked"),
        (Err(error), Works) => panic!("{what}: {}\n{:#?}", told(&error), fake.log().last()),
        (Err(error), Fails(class, parts)) => {
            let text = told(&error);
            assert_eq!(error.class, class, "{what}: {text}");
            for part in parts {
                assert!(text.contains(part), "{what}: {part:?} in {text}");
            }
            assert!(!text.contains(&fake.token()), "{what}: {text}");
        }
    }
}

fn says(method: &'static str, target: &'static str, reply: fn(&str) -> Reply) -> Quirk {
    Quirk::Says {
        method,
        target,
        reply,
    }
}

fn changes(method: &'static str, target: &'static str, change: fn(&mut Reply, &str)) -> Quirk {
    Quirk::Changes {
        method,
        target,
        change,
    }
}

const UPLOAD: &str = "/blobs/uploads/";
const BLOB: &str = "/blobs/sha256:";
const MANIFEST: &str = "/manifests/";
const TOKEN: &str = "/token?";

fn document(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
    Reply::new(status, body).with("content-type", "application/json")
}

#[tokio::test]
async fn uploads_are_taken_in_many_ways() {
    check(
        "PUT needs a PATCH before",
        vec![Quirk::PutNeedsPatch],
        Basic,
        Plain,
        Works,
    )
    .await;
    let silent = changes("PATCH", UPLOAD, |reply, _| reply.remove("location"));
    check(
        "a PATCH whose answer does not say where it goes on",
        vec![Quirk::PutNeedsPatch, silent],
        Basic,
        Plain,
        Works,
    )
    .await;
    for (status, what) in [
        (
            changes("", UPLOAD, |reply, _| reply.status = 200),
            "steps are answered 200",
        ),
        (
            changes("", UPLOAD, |reply, _| reply.status = 204),
            "steps are answered 204",
        ),
    ] {
        check(what, vec![status], Basic, Plain, Works).await;
    }
    let relative = changes("POST", UPLOAD, |reply, _| {
        let id = reply.get("location").and_then(|to| to.rsplit('/').next());
        let id = id.unwrap_or_default().to_owned();
        reply.set("location", id);
    });
    check(
        "an address from where one is",
        vec![relative],
        Basic,
        Plain,
        Works,
    )
    .await;
    let other_scheme = changes("", UPLOAD, |reply, host| {
        let to = reply.get("location").unwrap_or_default().to_owned();
        reply.set("location", format!("https://{host}{to}"));
    });
    check(
        "TLS where there is none",
        vec![other_scheme],
        Basic,
        Plain,
        Works,
    )
    .await;
    for (what, inside) in [
        (
            "its own address without TLS",
            changes("", UPLOAD, |reply, host| {
                let to = reply.get("location").unwrap_or_default().to_owned();
                reply.set("location", format!("http://{host}{to}"));
            }),
        ),
        (
            "its address behind a proxy",
            changes("", UPLOAD, |reply, _| {
                let to = reply.get("location").unwrap_or_default().to_owned();
                reply.set("location", format!("http://registry:5000{to}"));
            }),
        ),
    ] {
        check(what, vec![inside], Basic, Tls, Works).await;
    }
    let elsewhere = changes("POST", UPLOAD, |reply, _| {
        reply.set("location", "http://storage.example.com/x");
    });
    check(
        "storage without TLS",
        vec![elsewhere],
        Basic,
        Tls,
        Fails(
            Invalid,
            &["unencrypted storage.example.com", "X-Forwarded-Proto"],
        ),
    )
    .await;
    let nowhere = changes("POST", UPLOAD, |reply, _| reply.remove("location"));
    check(
        "no address and no ID",
        vec![nowhere],
        Basic,
        Plain,
        Fails(Invalid, &["where the upload goes", "is 127.0.0.1"]),
    )
    .await;
    let file = changes("POST", UPLOAD, |reply, _| {
        reply.set("location", "file:///etc/passwd");
    });
    check(
        "no address of the web",
        vec![file],
        Basic,
        Plain,
        Fails(Invalid, &["to no address"]),
    )
    .await;
    check(
        "a proxy's limit",
        vec![
            says("PUT", UPLOAD, |_| Reply::new(413, "<html>too large</html>")),
            says("PATCH", UPLOAD, |_| {
                Reply::new(413, "<html>too large</html>")
            }),
        ],
        Basic,
        Plain,
        Fails(
            Invalid,
            &["PUT http://127.0.0.1", "413", "client_max_body_size"],
        ),
    )
    .await;
    check(
        "the API has moved",
        vec![says("POST", UPLOAD, |_| {
            Reply::new(301, "").with("location", "https://new.example.com/v2/a/blobs/uploads/?x")
        })],
        Basic,
        Plain,
        Fails(
            Invalid,
            &[
                "redirects to https://new.example.com/v2/a/blobs/uploads/",
                "name it instead",
            ],
        ),
    )
    .await;
}

#[tokio::test]
async fn a_blob_that_cannot_be_taken_over_is_sent() {
    for (what, quirk) in [
        ("500", says("POST", "mount=", |_| Reply::new(500, ""))),
        ("501", says("POST", "mount=", |_| Reply::new(501, ""))),
        ("403", says("POST", "mount=", |_| document(403, "DENIED"))),
    ] {
        check(what, vec![quirk], Basic, Plain, Works).await;
    }
}

#[tokio::test]
async fn an_upload_is_known_by_its_id_alone() {
    let quirk = changes("POST", UPLOAD, |reply, _| {
        let to = reply.get("location").unwrap_or_default().to_owned();
        let id = to.rsplit('/').next().and_then(|id| id.split('?').next());
        reply.set("docker-upload-uuid", id.unwrap_or_default());
        reply.remove("location");
    });
    // (The fake wants its own query back, which only an address has: it is unknown to it at first, and then it comes by PATCH.)
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let fake = start(vec![quirk], Basic, Plain, &ca).await;
    let registry = client(
        &fake.url(),
        login("AWS", fake.token()),
        &HttpSettings::default(),
        patient(),
    );
    let push = Push::new(&directory);
    push.run(&registry).await.unwrap();
    let log = fake.log();
    assert!(
        log.iter().any(|entry| entry.method == "PUT"
            && entry.target.contains("/blobs/uploads/upload-")
            && entry.target.contains("?digest=")),
        "{log:#?}"
    );
}

#[tokio::test]
async fn what_is_there_is_found_where_head_is_of_no_use() {
    for (what, quirk) in [
        ("HEAD is 405", says("HEAD", "", |_| Reply::new(405, ""))),
        ("HEAD is 501", says("HEAD", "", |_| Reply::new(501, ""))),
        ("HEAD is 400", says("HEAD", "", |_| Reply::new(400, ""))),
        (
            "HEAD of blobs is 403",
            says("HEAD", BLOB, |_| Reply::new(403, "")),
        ),
        (
            "HEAD is always 404",
            says("HEAD", "", |_| Reply::new(404, "")),
        ),
        (
            "HEAD says 0 bytes",
            changes("HEAD", "", |reply, _| reply.set("content-length", "0")),
        ),
        (
            "HEAD says nothing",
            changes("HEAD", "", |reply, _| {
                reply.remove("docker-content-digest");
                reply.remove("content-type");
            }),
        ),
    ] {
        check(what, vec![quirk], Basic, Plain, Works).await;
    }
}

#[tokio::test]
async fn manifests_are_what_their_bytes_say() {
    for (what, quirk) in [
        (
            "all is JSON",
            changes("GET", MANIFEST, |reply, _| {
                reply.set("content-type", "application/json")
            }),
        ),
        (
            "all is Docker's",
            changes("", MANIFEST, |reply, _| {
                reply.set(
                    "content-type",
                    "application/vnd.docker.distribution.manifest.v2+json",
                );
            }),
        ),
        (
            "nothing is told",
            changes("", MANIFEST, |reply, _| {
                reply.remove("content-type");
                reply.remove("docker-content-digest");
            }),
        ),
        (
            "another kind of digest",
            changes("", MANIFEST, |reply, _| {
                reply.set("docker-content-digest", "sha512:00")
            }),
        ),
        (
            "PUT is answered 200",
            changes("PUT", MANIFEST, |reply, _| reply.status = 200),
        ),
        (
            "PUT is answered 204",
            changes("PUT", MANIFEST, |reply, _| reply.status = 204),
        ),
    ] {
        check(what, vec![quirk], Basic, Plain, Works).await;
    }
    for (status, code) in [(415, "UNSUPPORTED"), (400, "MANIFEST_INVALID")] {
        let quirk = match status {
            415 => says("PUT", MANIFEST, |_| document(415, "UNSUPPORTED")),
            _ => says("PUT", MANIFEST, |_| document(400, "MANIFEST_INVALID")),
        };
        check(
            code,
            vec![quirk],
            Basic,
            Plain,
            Fails(Invalid, &["PUT http://127.0.0.1", "too old for OCI images"]),
        )
        .await;
    }
    check(
        "a page for people",
        vec![says("GET", MANIFEST, |_| {
            Reply::new(200, "<html>Sign in</html>").with("content-type", "text/html")
        })],
        Basic,
        Plain,
        Fails(Invalid, &["not a manifest", "is 127.0.0.1"]),
    )
    .await;
    check(
        "Docker's first format",
        vec![changes("GET", MANIFEST, |reply, _| {
            reply.set(
                "content-type",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            );
        })],
        Basic,
        Plain,
        Fails(Invalid, &["schema 1"]),
    )
    .await;
    check(
        "always back to where it was",
        vec![says("GET", MANIFEST, |_| {
            Reply::new(307, "").with("location", "/v2/x/manifests/y")
        })],
        Basic,
        Plain,
        Fails(Invalid, &["GET http://127.0.0.1", "redirects too often"]),
    )
    .await;
}

#[tokio::test]
async fn a_registry_of_several_machines_has_what_it_took_a_moment_later() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let fake = start(Vec::new(), Basic, Plain, &ca).await;
    for method in ["GET", "PUT"] {
        let (status, times) = if method == "GET" { (404, 2) } else { (503, 1) };
        fake.arm(Fault {
            when: When::Matching {
                method: method.to_owned(),
                target: "/manifests/sha256:".to_owned(),
                times,
            },
            effect: Effect::Refuse {
                status,
                retry_after: None,
            },
        });
    }
    use_it(&fake, &ca, login("AWS", fake.token()), patient())
        .await
        .unwrap();
}

#[tokio::test]
async fn token_servers_answer_in_many_ways() {
    fn with(reply: &mut Reply, old: &str, new: &str) {
        let text = String::from_utf8(reply.body.clone()).unwrap();
        assert!(text.contains(old), "{text}");
        reply.body = text.replace(old, new).into_bytes();
    }
    for (what, quirk) in [
        (
            "a lifetime as text",
            changes("", TOKEN, |reply, _| with(reply, "300", "\"300\"")),
        ),
        (
            "a lifetime with a fraction",
            changes("", TOKEN, |reply, _| with(reply, "300", "299.5")),
        ),
        (
            "no lifetime at all",
            changes("", TOKEN, |reply, _| with(reply, "300", "0")),
        ),
        (
            "an empty token beside the access token",
            changes("", TOKEN, |reply, _| {
                with(reply, "\"token\"", "\"token\":\"\",\"access_token\"")
            }),
        ),
    ] {
        check(what, vec![quirk], Bearer, Plain, Works).await;
    }
    check(
        "other names in scopes",
        vec![Quirk::RenamesScopes],
        Bearer,
        Plain,
        Works,
    )
    .await;
    check(
        "strangers see nothing",
        vec![Quirk::HidesFromStrangers],
        Bearer,
        Plain,
        Works,
    )
    .await;
    check(
        "strangers see nothing",
        vec![Quirk::HidesFromStrangers],
        Basic,
        Plain,
        Works,
    )
    .await;
    check(
        "no token",
        vec![says("", TOKEN, |_| Reply::new(200, "{}"))],
        Bearer,
        Plain,
        Fails(Invalid, &["GET http://127.0.0.1", "holds no token"]),
    )
    .await;
    check(
        "a page for people",
        vec![says("", TOKEN, |_| Reply::new(200, "<html>"))],
        Bearer,
        Plain,
        Fails(Invalid, &["not the JSON of a token"]),
    )
    .await;
    check(
        "a token server that is out of order",
        vec![says("", TOKEN, |_| Reply::new(502, "<html>"))],
        Bearer,
        Plain,
        Fails(Retryable, &["/token: the registry answered 502"]),
    )
    .await;
}

#[tokio::test]
async fn challenges_come_in_many_forms() {
    fn asks(challenge: &str) -> Reply {
        Reply::new(401, "").with("www-authenticate", challenge)
    }
    // Who shows something is let through, so that these come before the login only.
    let ping = |reply| says("", "/v2/", reply);
    for (what, quirk) in [
        ("nothing", ping(|_| Reply::new(401, ""))),
        ("something unknown", ping(|_| asks("Negotiate"))),
    ] {
        check(
            what,
            vec![quirk],
            Basic,
            Plain,
            Fails(Denied, &["401", "login"]),
        )
        .await;
    }
    check(
        "no word of how to log in",
        vec![ping(|_| Reply::new(401, ""))],
        Basic,
        Plain,
        Fails(Denied, &["WWW-Authenticate"]),
    )
    .await;
    check(
        "a token server without TLS",
        vec![ping(|_| asks("Bearer realm=\"http://token.example.com/\""))],
        Bearer,
        Tls,
        Fails(Denied, &["token.example.com is reached without encryption"]),
    )
    .await;
    check(
        "a token server without TLS, elsewhere",
        vec![ping(|_| asks("Bearer realm=\"http://token.example.com/\""))],
        Bearer,
        Plain,
        Fails(Denied, &["token.example.com is reached without encryption"]),
    )
    .await;
    check(
        "a token server from where one is",
        vec![
            ping(|_| asks("Basic realm=\"x\", Bearer realm=\"/token\",service=\"fake registry\"")),
            says("", TOKEN, |_| Reply::new(418, "here")),
        ],
        Bearer,
        Plain,
        Fails(Invalid, &["/token: the registry answered 418: here"]),
    )
    .await;
}

#[tokio::test]
async fn lists_are_read_whatever_leads_on_and_end() {
    for (what, quirk) in [
        (
            "the next page is at an address from inside",
            changes("GET", "/tags/list?n=", |reply, _| {
                reply.set(
                    "link",
                    "<http://registry:5000/v2/team/frontend/tags/list?last=x>; rel=\"next\"",
                );
            }),
        ),
        (
            "the list goes round in circles",
            changes("GET", "/tags/list", |reply, _| {
                reply.set("link", "</v2/team/frontend/tags/list?a>; rel=\"prev\", </v2/team/frontend/tags/list?b>; rel=next");
            }),
        ),
        (
            "a limit for what a page holds",
            says("GET", "/tags/list?n=", |_| {
                document(400, "PAGINATION_NUMBER_INVALID")
            }),
        ),
        (
            "null for no tags on a page",
            changes("GET", "/tags/list?last=", |reply, _| {
                reply.body = b"{\"tags\":null}".to_vec();
            }),
        ),
    ] {
        check(what, vec![quirk], Basic, Plain, Works).await;
    }
}

#[tokio::test]
async fn a_login_that_is_refused_says_what_may_be_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    for kind in [Basic, Bearer] {
        let fake = start(Vec::new(), kind, Plain, &ca).await;
        let with_line_break = format!("{}\n", fake.token());
        for (credentials, part) in [
            (login("AWS", with_line_break), "ends with a line break"),
            (login("AWS", "guess"), "was refused"),
            (Credentials::Anonymous, "no login for 127.0.0.1"),
        ] {
            let error = use_it(&fake, &ca, credentials, patient())
                .await
                .unwrap_err();
            let text = told(&error);
            assert_eq!(error.class, Denied, "{text}");
            for part in [part, "docker login", "`username` and `password`"] {
                assert!(text.contains(part), "{text}");
            }
            assert!(
                !text.contains("`login`") && !text.contains("guess"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_registry_that_always_fails_is_asked_as_often_as_one_layer_asks() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    for (kind, target) in [
        (Basic, "/manifests/"),
        (Basic, "/blobs/"),
        (Bearer, "/token"),
    ] {
        let fake = start(Vec::new(), kind, Plain, &ca).await;
        fake.arm(Fault {
            when: When::Matching {
                method: String::new(),
                target: target.to_owned(),
                times: u32::MAX,
            },
            effect: Effect::Refuse {
                status: 503,
                retry_after: Some(0),
            },
        });
        let registry = client(
            &fake.url(),
            login("AWS", fake.token()),
            &HttpSettings::default(),
            patient(),
        );
        let repository = "user_service".parse().unwrap();
        let tag = Reference::Tag("tag".to_owned());
        let error = match target {
            "/blobs/" => registry.preflight(&[repository]).await.unwrap_err(),
            _ => registry.manifest(&repository, &tag).await.unwrap_err(),
        };
        assert_eq!(error.class, Retryable, "{target}");
        let log = fake.log();
        let asked = log.iter().filter(|entry| entry.target.contains(target));
        assert_eq!(asked.count(), patient().attempts as usize, "{log:#?}");
    }
}
