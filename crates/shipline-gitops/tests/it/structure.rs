//! Edits that add or remove keys: digests, names, entries of `images`.

use shipline_engine::backend::{Pinning, SetImage};
use shipline_model::config::{KustomizeImages, Pin};
use shipline_model::name::{Digest, ImageName};

use crate::edit::{deployment, image, run, run_around};

const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn pinned(pin: Option<Pin>) -> SetImage {
    let mut image = SetImage {
        digest: Some(Digest::new(NEW).unwrap()),
        ..image("new")
    };
    image.target.pin = pin;
    image
}

/// A kustomization beside a Deployment, before and after.
fn kustomized(image: &SetImage, old: &str, new: &str) {
    let workload = deployment("      - {name: web, image: r/web:base}\n");
    let list = |entry: &str| format!("resources: [deployment.yaml]\nimages:\n{entry}# end\n");
    let (old, new) = (list(old), list(new));
    let files: [(&str, &[u8]); 2] = [
        ("deployment.yaml", workload.as_bytes()),
        ("kustomization.yaml", old.as_bytes()),
    ];
    let done = run(std::slice::from_ref(image), &files).unwrap();
    let file = done.files["staging/web/kustomization.yaml"].clone();
    assert_eq!(String::from_utf8(file).unwrap(), new);
}

#[test]
fn keys_of_an_entry_come_and_go() {
    let keep = pinned(None);
    kustomized(
        &keep,
        &format!("- name: r/web\n  digest: {OLD} # pinned\n"),
        &format!("- name: r/web\n  digest: {NEW} # pinned\n"),
    );
    kustomized(
        &keep,
        &format!("- name: r/web\n  newTag: old\n  digest: {OLD}\n"),
        &format!("- name: r/web\n  newTag: new\n  digest: {NEW}\n"),
    );
    kustomized(
        &pinned(Some(Pin::Both)),
        "- name: r/web # c\n  newTag: \"1.0\" # t\n",
        &format!("- name: r/web # c\n  newTag: \"new\" # t\n  digest: {NEW}\n"),
    );
    kustomized(
        &pinned(Some(Pin::Both)),
        "- {name: r/web, newTag: old}\n",
        &format!("- {{name: r/web, newTag: new, digest: {NEW}}}\n"),
    );
    kustomized(
        &pinned(Some(Pin::Tag)),
        &format!("- name: r/web\n  digest: {OLD}\n"),
        "- name: r/web\n  newTag: new\n",
    );
    kustomized(
        &pinned(Some(Pin::Digest)),
        "- name: r/web\n  newTag: old\n",
        &format!("- name: r/web\n  digest: {NEW}\n"),
    );
    let named = SetImage {
        name: Some(ImageName::new("x.io/team/web").unwrap()),
        ..image("new")
    };
    kustomized(
        &named,
        "- name: r/web\n  newTag: old\n",
        "- name: r/web\n  newTag: new\n  newName: x.io/team/web\n",
    );
    kustomized(
        &named,
        "- name: r/web\n  newName: y.io/web\n  newTag: 1.0\n",
        "- name: r/web\n  newName: x.io/team/web\n  newTag: new\n",
    );
}

#[test]
fn an_entry_is_made_where_the_component_asks_for_it() {
    let workload = deployment("      - {name: web, image: r/web:base}\n");
    let mut create = image("2.0");
    create.target.kustomize_images = KustomizeImages::Create;
    let made = |own: &str, image: &SetImage| {
        let around: Vec<(&str, &[u8])> = vec![
            ("base/d.yaml", workload.as_bytes()),
            ("base/kustomization.yaml", b"resources: [d.yaml]\n"),
            (
                "production/web/kustomization.yaml",
                b"resources: [../../base]\n",
            ),
        ];
        let own: [(&str, &[u8]); 1] = [("kustomization.yaml", own.as_bytes())];
        let image = std::slice::from_ref(image);
        run_around(image, &own, &around).map(|done| {
            let file = done.files["staging/web/kustomization.yaml"].clone();
            String::from_utf8(file).unwrap()
        })
    };
    let check = |old: &str, new: &str| assert_eq!(made(old, &create).unwrap(), new);
    check(
        "resources: [../../base]\n",
        "resources: [../../base]\nimages:\n- name: r/web\n  newTag: \"2.0\"\n",
    );
    check(
        "resources: [../../base]",
        "resources: [../../base]\nimages:\n- name: r/web\n  newTag: \"2.0\"\n",
    );
    check(
        "resources:\r\n- ../../base\r\nimages:\r\n  - name: r/x\r\n    newTag: a # c\r\n# end\r\n",
        "resources:\r\n- ../../base\r\nimages:\r\n  - name: r/x\r\n    newTag: a # c\r\n  - name: r/web\r\n    newTag: \"2.0\"\r\n# end\r\n",
    );
    check(
        "images: []\nresources: [../../base]\n",
        "images: [{name: r/web, newTag: \"2.0\"}]\nresources: [../../base]\n",
    );
    check(
        "images:\nresources: [../../base]\n",
        "images:\n- name: r/web\n  newTag: \"2.0\"\nresources: [../../base]\n",
    );
    // Without being asked for, a base that another environment takes in stays as it is.
    let error = made("resources: [../../base]\n", &image("2.0")).unwrap_err();
    assert!(
        error[0]
            .cause
            .contains("base/d.yaml:9 is also part of production/web"),
        "{error:?}"
    );
    assert!(
        error[0].remedy.contains("kustomize_images: create"),
        "{error:?}"
    );
}

#[test]
fn repositories_of_environments_change_with_the_edit() {
    let mut image = image("new");
    image.target.repository = "web-staging".into();
    image.target.other_repositories = vec!["web".into(), "web-production".into()];
    let text = |image: &str| deployment(&format!("      - {{name: web, image: '{image}'}}\n"));
    for (old, new) in [
        ("r.io/team/web:1", "r.io/team/web-staging:new"),
        ("r.io/web-production:1", "r.io/web-staging:new"),
        ("r.io/web-staging:1", "r.io/web-staging:new"),
    ] {
        let done = run(
            std::slice::from_ref(&image),
            &[("d.yaml", text(old).as_bytes())],
        )
        .unwrap();
        assert_eq!(done.files["staging/web/d.yaml"], text(new).into_bytes());
    }
}

#[test]
fn values_are_named_by_their_keys() {
    let set = |value: &str, text: &str| {
        let mut image = image("2.0");
        image.target.value = Some(value.to_owned());
        let files: [(&str, &[u8]); 2] = [
            ("Chart.yaml", b"name: web\n"),
            ("values.yaml", text.as_bytes()),
        ];
        run(&[image], &files)
            .map(|done| String::from_utf8(done.files["staging/web/values.yaml"].clone()).unwrap())
    };
    let check = |value, old: &str, new: &str| assert_eq!(set(value, old).unwrap(), new, "{value}");
    check(
        "image.tag",
        "image: {tag: 1.0}\n",
        "image: {tag: \"2.0\"}\n",
    );
    check(
        "server.imageTag",
        "server:\n  imageTag: old # c\n",
        "server:\n  imageTag: \"2.0\" # c\n",
    );
    check(
        "web.image",
        "web:\n  image: r/web:1\n",
        "web:\n  image: r/web:2.0\n",
    );
    check(
        "a.image",
        "a: {image: {repository: r/web, tag: x}}\nb: {image: {repository: r/web, tag: x}}\n",
        "a: {image: {repository: r/web, tag: \"2.0\"}}\nb: {image: {repository: r/web, tag: x}}\n",
    );
    let error = set("image.tag", "a: 1\n").unwrap_err();
    assert!(
        error[0].cause.contains("its values have no `image.tag`"),
        "{error:?}"
    );
}

#[test]
fn digests_are_written_behind_the_tag_of_values() {
    let text = "image:\n  repository: r/web\n  tag: old\n";
    let files: [(&str, &[u8]); 2] = [
        ("Chart.yaml", b"name: web\n"),
        ("values.yaml", text.as_bytes()),
    ];
    let always = SetImage {
        pinning: Pinning::Always,
        ..pinned(None)
    };
    let done = run(&[always], &files).unwrap();
    assert_eq!(done.changes[0].to, format!("r/web:new@{NEW}"));
    let file = String::from_utf8(done.files["staging/web/values.yaml"].clone()).unwrap();
    assert_eq!(file, text.replace("old", &format!("new@{NEW}")));
}
