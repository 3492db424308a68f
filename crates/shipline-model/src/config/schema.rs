//! The JSON Schema of `pipeline.yaml`, and the same as shapes that a text is held against.

use std::sync::OnceLock;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::raw;

/// The JSON Schema (draft 2020-12) of `pipeline.yaml`, for editors. Ends in a newline.
#[must_use]
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&generate()).unwrap_or_default();
    text.push('\n');
    text
}

/// What a value must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A mapping with known keys.
    Record(IndexMap<String, Field>),
    /// A mapping from names to values of one shape.
    Map(Box<Shape>),
    /// A sequence.
    List(Box<Shape>),
    /// One of these words.
    Word(Vec<String>),
    /// Any text.
    Text,
    /// A text, or a list of texts: read as a list.
    Texts,
    /// A whole number, at least and at most.
    Integer(u64, u64),
    /// `true` or `false`.
    Flag,
}

/// A key of a [`Shape::Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// The shape of the whole file.
pub(super) fn shape() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(|| {
        let schema = generate();
        read(&schema, &schema)
    })
}

fn generate() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    forbid_null(&mut schema);
    if let Some(version) = schema.pointer_mut("/properties/version") {
        version["const"] = 1.into();
    }
    schema
}

/// An `Option` of the raw types is a key that may be left out, never one that may be null.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get("type") {
                let mut types: Vec<Value> = types
                    .iter()
                    .filter(|word| *word != "null")
                    .cloned()
                    .collect();
                let types = if types.len() == 1 {
                    types.remove(0)
                } else {
                    Value::Array(types)
                };
                object.insert("type".to_owned(), types);
            }
            if let Some(Value::Array(choices)) = object.get("anyOf") {
                let mut choices: Vec<Value> = choices
                    .iter()
                    .filter(|choice| choice["type"] != "null")
                    .cloned()
                    .collect();
                if let (1, Some(Value::Object(only))) = (choices.len(), choices.pop()) {
                    object.shift_remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn read(schema: &Value, root: &Value) -> Shape {
    let target = schema["$ref"]
        .as_str()
        .and_then(|path| root.pointer(path.trim_start_matches('#')));
    let Some(object) = target.unwrap_or(schema).as_object() else {
        return Shape::Text;
    };
    if let Some(words) = words(object) {
        return Shape::Word(words);
    }
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        let required: Vec<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let field = |(name, schema): (&String, &Value)| {
            let field = Field {
                shape: read(schema, root),
                required: required.contains(&name.as_str()),
            };
            (name.clone(), field)
        };
        return Shape::Record(properties.iter().map(field).collect());
    }
    if matches!(object.get("type"), Some(Value::Array(_))) {
        return Shape::Texts;
    }
    match object.get("type").and_then(Value::as_str) {
        Some("object") => Shape::Map(Box::new(read(&object["additionalProperties"], root))),
        Some("array") => Shape::List(Box::new(read(&object["items"], root))),
        Some("boolean") => Shape::Flag,
        Some("integer") => Shape::Integer(
            object.get("minimum").and_then(Value::as_u64).unwrap_or(0),
            object
                .get("maximum")
                .and_then(Value::as_u64)
                .unwrap_or(u64::MAX),
        ),
        _ => Shape::Text,
    }
}

fn words(object: &Map<String, Value>) -> Option<Vec<String>> {
    let choices = object.get("oneOf").or_else(|| object.get("enum"))?;
    let word = |choice: &Value| {
        let word = choice.get("const").unwrap_or(choice);
        word.as_str().map(str::to_owned)
    };
    choices.as_array()?.iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(shape: &'a Shape, name: &str) -> &'a Field {
        let Shape::Record(fields) = shape else {
            panic!("no record: {shape:?}");
        };
        &fields[name]
    }

    fn item(shape: &Shape) -> &Shape {
        let (Shape::Map(item) | Shape::List(item)) = shape else {
            panic!("no collection: {shape:?}");
        };
        item
    }

    #[test]
    fn every_shape_of_the_language_is_read_from_the_schema() {
        let file = shape();
        assert!(field(file, "project").required);
        assert!(!field(file, "scans").required);
        assert_eq!(field(file, "version").shape, Shape::Integer(0, u64::MAX));
        let component = item(&field(file, "components").shape);
        assert_eq!(
            field(component, "uses").shape,
            Shape::List(Box::new(Shape::Text))
        );
        assert_eq!(
            field(component, "environment").shape,
            Shape::Map(Box::new(Shape::Text))
        );
        let port = field(&field(component, "route").shape, "port");
        assert_eq!(port.shape, Shape::Integer(1, 65535));
        let image = &field(component, "image").shape;
        assert_eq!(field(image, "lock").shape, Shape::Flag);
        assert_eq!(
            field(image, "engine").shape,
            Shape::Word(vec!["auto".into(), "embedded".into(), "docker".into()])
        );
        assert_eq!(field(component, "manifests").shape, Shape::Texts);
        let stage = item(&field(item(&field(file, "pipelines").shape), "stages").shape);
        assert!(matches!(&field(stage, "kind").shape, Shape::Word(words) if words.len() == 7));
    }

    #[test]
    fn no_key_may_be_null() {
        assert!(!schema().contains("\"null\""));
    }
}
