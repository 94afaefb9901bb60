//! A JSON object being written.

use super::super::json::push_string;

/// An object and what is open inside it; members stand in the order in which they are written.
#[derive(Debug)]
pub(super) struct Object {
    json: Vec<u8>,
    /// Whether nothing stands yet in the innermost object.
    empty: bool,
}

impl Object {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        let mut json = Vec::with_capacity(capacity_bytes);
        json.push(b'{');
        Self { json, empty: true }
    }

    /// The whole object.
    pub(super) fn close(mut self) -> Vec<u8> {
        self.json.push(b'}');
        self.json
    }

    /// Begins a member, whose value is to be appended to what is returned.
    fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.json.push(b',');
        }
        self.empty = false;
        push_string(&mut self.json, name);
        self.json.push(b':');
        &mut self.json
    }

    /// A member whose value is JSON already.
    pub(super) fn json(&mut self, name: &str, json: impl AsRef<[u8]>) {
        self.member(name).extend_from_slice(json.as_ref());
    }

    /// A member that is a string.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        push_string(self.member(name), text);
    }

    /// A member that is a whole number.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.json(name, number.to_string());
    }

    /// A member that is a flag.
    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.json(name, if flag { "true" } else { "false" });
    }

    /// A member that is a list of strings.
    pub(super) fn texts(&mut self, name: &str, texts: &[String]) {
        // Writing strings into memory has no way to fail.
        let _ = serde_json::to_writer(self.member(name), texts);
    }

    /// A member that is an object, whose members `write` writes.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.member(name);
        self.braces(write);
    }

    /// A member that is a list of objects, one for each item.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.member(name).push(b'[');
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                self.json.push(b',');
            }
            self.braces(|object| write(object, item));
        }
        self.json.push(b']');
    }

    fn braces(&mut self, write: impl FnOnce(&mut Self)) {
        self.json.push(b'{');
        self.empty = true;
        write(self);
        self.json.push(b'}');
        self.empty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn commas_stand_between_members_only() {
        let mut object = Object::new(0);
        object.object("none", |_| {});
        object.objects("list", [1, 2], |object, number| {
            object.number("number", number);
            object.flag("flag", number == 1);
        });
        object.objects("nothing", [(); 0], |_, ()| {});
        object.texts("texts", &["a\"".to_owned(), "\n".to_owned()]);
        object.object("some", |object| object.text("a\\b", "c"));
        object.json("json", "[1.0]");
        let expected = r#"{"none":{},"list":[{"number":1,"flag":true},{"number":2,"flag":false}],"nothing":[],"texts":["a\"","\n"],"some":{"a\\b":"c"},"json":[1.0]}"#;
        assert_eq!(String::from_utf8(object.close()).unwrap(), expected);
        assert_eq!(Object::new(9).close(), b"{}");
    }
}
