//! The reference of `pipeline.yaml`, from its JSON Schema.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The page.
pub(super) fn page(schema: &Value) -> Result<String, String> {
    let definitions = schema["$defs"]
        .as_object()
        .ok_or("the schema has no definitions")?;
    let mut page = String::from(
        "# pipeline.yaml\n\n<!-- Made by `cargo xtask docs` from pipeline.schema.json. -->\n\n\
         Every key. An unknown one is an error with its place. Paths start at the repository's root unless the key says\n\
         otherwise. A text may hold `${env.NAME}`, `${env.NAME:-default}` and, where the key says so, `${secret.NAME}`.\n\n\
         `shipline schema` prints the same as JSON Schema, for completion in an editor. `shipline config show` prints a file with\n\
         every default filled in.\n",
    );
    section(&mut page, "The file", "", schema)?;
    for (name, definition) in definitions {
        let text = definition["description"].as_str().unwrap_or_default();
        match definition.get("oneOf") {
            Some(words) => word_list(&mut page, name, text, words)?,
            None => section(&mut page, name, text, definition)?,
        }
    }
    Ok(page)
}

/// A table of keys.
fn section(page: &mut String, name: &str, text: &str, definition: &Value) -> Result<(), String> {
    let keys = definition["properties"]
        .as_object()
        .ok_or_else(|| format!("the schema's {name} has no keys"))?;
    let required: Vec<&str> = definition["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    heading(page, name, text);
    page.push_str("| key | what it is | default | |\n|---|---|---|---|\n");
    for (key, of) in keys {
        let default = match of.get("default") {
            Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
            None if required.contains(&key.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let text = of["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{key}` | {} | {default} | {} |",
            kind(of),
            cell(text)
        );
    }
    inline_words(page, keys);
    Ok(())
}

/// Keys whose words are listed where the key is.
fn inline_words(page: &mut String, keys: &Map<String, Value>) {
    for (key, of) in keys {
        if let Some(words) = of["oneOf"].as_array() {
            let _ = writeln!(page, "\nWords of `{key}`:\n\n| word | |\n|---|---|");
            rows(page, words);
        }
    }
}

/// A list of words.
fn word_list(page: &mut String, name: &str, text: &str, words: &Value) -> Result<(), String> {
    let words = words
        .as_array()
        .ok_or_else(|| format!("the schema's {name} has no words"))?;
    heading(page, name, text);
    page.push_str("| word | |\n|---|---|\n");
    rows(page, words);
    Ok(())
}

fn rows(page: &mut String, words: &[Value]) {
    for word in words {
        let text = word["description"].as_str().unwrap_or_default();
        let word = word["const"].as_str().unwrap_or_default();
        let _ = writeln!(page, "| `{word}` | {} |", cell(text));
    }
}

fn heading(page: &mut String, name: &str, text: &str) {
    let _ = write!(page, "\n## {name}\n\n");
    if !text.is_empty() {
        let _ = write!(page, "{}\n\n", text.replace('\n', " "));
    }
}

/// What a key's value is.
fn kind(of: &Value) -> String {
    if let Some(reference) = of["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_ascii_lowercase());
    }
    if of.get("oneOf").is_some() {
        return "a word".to_owned();
    }
    if of["type"].is_array() {
        return "text, or list of text".to_owned();
    }
    match of["type"].as_str() {
        Some("array") => format!("list of {}", kind(&of["items"])),
        Some("object") => format!("by name: {}", kind(&of["additionalProperties"])),
        Some("string") => "text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => "number".to_owned(),
        _ => String::new(),
    }
}

/// A text as it stands in a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_words_become_tables() {
        let schema = serde_json::json!({
            "properties": { "a": { "$ref": "#/$defs/Thing", "description": "An | a.\nMore." } },
            "required": ["a"],
            "$defs": {
                "Thing": { "description": "T.", "properties": {
                    "on": { "type": "boolean", "default": false },
                    "all": { "type": "array", "items": { "type": "string" } },
                    "any": { "type": ["string", "array"], "items": { "type": "string" } },
                } },
                "Word": { "oneOf": [{ "const": "w", "description": "W." }] },
            },
        });
        let page = page(&schema).unwrap();
        for line in [
            "| `a` | [Thing](#thing) | required | An \\| a. More. |",
            "| `on` | `true` or `false` | `false` |  |",
            "| `all` | list of text |  |  |",
            "| `any` | text, or list of text |  |  |",
            "| `w` | W. |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(super::page(&serde_json::json!({})).is_err());
    }
}
