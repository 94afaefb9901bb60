//! Records on shelves: kept for a time, under conditions, told in the order of their puts.

use std::rc::Rc;
use std::time::Duration;

use quota::{Found, RecordOperation, Shelf, Shelves, When};

use super::Fixture;
use super::caller::{LIVES, PATIENCE, eventually, in_parallel};

const LONG_MS: u64 = 60_000;
const SHORT_MS: u64 = 150;

struct Desk<S> {
    store: Rc<S>,
    shelf: Shelf,
}

fn desk<F: Fixture>(fixture: &F, shelf: &str) -> Desk<F::Handle> {
    Desk {
        store: Rc::new(fixture.open(LIVES)),
        shelf: Shelf::of(shelf),
    }
}

impl<S: Shelves> Desk<S> {
    fn another(&self, shelf: &str) -> Self {
        Self {
            store: Rc::clone(&self.store),
            shelf: Shelf::of(shelf),
        }
    }

    async fn run(&self, operation: RecordOperation) -> Found {
        let answer = self.store.records(&self.shelf, &operation, PATIENCE).await;
        answer.unwrap()
    }

    async fn put_as(
        &self,
        name: &str,
        value: &[u8],
        life_ms: u64,
        when: When,
        most: Option<u64>,
    ) -> bool {
        let (name, value) = (name.to_owned(), value.to_vec());
        let put = RecordOperation::Put {
            name,
            value,
            life_ms,
            when,
            most,
        };
        self.run(put).await.done
    }

    async fn put(&self, name: &str, value: &[u8]) {
        assert!(self.put_as(name, value, LONG_MS, When::Any, None).await);
    }

    async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let name = name.to_owned();
        only(self.run(RecordOperation::Get { name }).await)
    }

    async fn take(&self, name: &str) -> Option<Vec<u8>> {
        let name = name.to_owned();
        only(self.run(RecordOperation::Take { name }).await)
    }

    /// The sequence number, and the names of what was put after `after`.
    async fn list(&self, after: u64) -> (u64, Vec<String>) {
        let found = self.run(RecordOperation::List { after }).await;
        let names = found.rows.into_iter().map(|(name, _)| name);
        (found.sequence, names.collect())
    }
}

fn only(found: Found) -> Option<Vec<u8>> {
    assert!(found.rows.len() <= 1);
    found.rows.into_iter().next().map(|(_, value)| value)
}

pub(crate) async fn keeps_any_bytes_under_any_name(fixture: &impl Fixture) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let desk = desk(fixture, "bytes");
    for name in ["plain", "s", "r", "", "ü 1 2", "a\0b\nc", "{}:*%"] {
        desk.put(name, &every_byte).await;
        assert_eq!(desk.get(name).await.as_ref(), Some(&every_byte), "{name:?}");
        desk.put(name, b"").await;
        assert_eq!(desk.get(name).await, Some(Vec::new()), "{name:?}");
    }
    assert_eq!(desk.get("another").await, None);
}

pub(crate) async fn keeps_shelves_with_odd_names_apart(fixture: &impl Fixture) {
    let first = desk(fixture, "a");
    let names = [
        "", "%", "%61", "{a}", "}", "{", "a}", "a:b", "a b", "a\0", "ä", "A",
    ];
    first.put("name", b"a").await;
    for name in names {
        let other = first.another(name);
        assert_eq!(other.get("name").await, None, "{name:?}");
        other.put("name", name.as_bytes()).await;
    }
    for name in names {
        let found = first.another(name).get("name").await;
        assert_eq!(found.as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(first.get("name").await.as_deref(), Some(&b"a"[..]));
}

pub(crate) async fn forgets_a_record_after_its_life_and_no_other(fixture: &impl Fixture) {
    let desk = desk(fixture, "lives");
    desk.put("long", b"1").await;
    assert!(desk.put_as("short", b"2", SHORT_MS, When::Any, None).await);
    // A new life takes the place of the old one, a shorter one too.
    assert!(desk.put_as("longer", b"3", SHORT_MS, When::Any, None).await);
    desk.put("longer", b"3").await;
    desk.put("shorter", b"4").await;
    assert!(
        desk.put_as("shorter", b"4", SHORT_MS, When::Any, None)
            .await
    );
    eventually("the short lives end", async || {
        desk.get("short").await.is_none() && desk.get("shorter").await.is_none()
    })
    .await;
    assert_eq!(desk.list(0).await.1, ["long", "longer"]);
    assert_eq!(desk.take("short").await, None);
    assert!(
        !desk
            .put_as("short", b"5", LONG_MS, When::Present, None)
            .await
    );
    assert!(
        desk.put_as("short", b"5", LONG_MS, When::Absent, None)
            .await
    );
}

pub(crate) async fn puts_only_what_is_absent_or_present(fixture: &impl Fixture) {
    let desk = desk(fixture, "conditions");
    assert!(
        !desk
            .put_as("name", b"1", LONG_MS, When::Present, None)
            .await
    );
    assert_eq!(desk.get("name").await, None);
    assert!(desk.put_as("name", b"2", LONG_MS, When::Absent, None).await);
    assert!(!desk.put_as("name", b"3", LONG_MS, When::Absent, None).await);
    assert_eq!(desk.get("name").await.as_deref(), Some(&b"2"[..]));
    assert!(
        desk.put_as("name", b"4", LONG_MS, When::Present, None)
            .await
    );
    assert_eq!(desk.get("name").await.as_deref(), Some(&b"4"[..]));
}

pub(crate) async fn puts_one_of_many_that_want_to_be_the_first(fixture: &impl Fixture) {
    let desk = Rc::new(desk(fixture, "first"));
    let puts = (0..20).map(|number: u8| {
        let desk = Rc::clone(&desk);
        async move {
            desk.put_as("name", &[number], LONG_MS, When::Absent, None)
                .await
        }
    });
    let put = in_parallel(puts).await;
    assert_eq!(put.iter().filter(|put| **put).count(), 1);
}

pub(crate) async fn holds_no_more_than_it_may(fixture: &impl Fixture) {
    let desk = Rc::new(desk(fixture, "most"));
    let puts = (0..50).map(|number| {
        let desk = Rc::clone(&desk);
        async move {
            let name = number.to_string();
            desk.put_as(&name, b"", LONG_MS, When::Any, Some(5)).await
        }
    });
    let put = in_parallel(puts).await;
    assert_eq!(put.iter().filter(|put| **put).count(), 5);
    let (_, names) = desk.list(0).await;
    assert_eq!(names.len(), 5);
    // Another value in the place of one it has.
    assert!(
        desk.put_as(&names[0], b"new", LONG_MS, When::Any, Some(5))
            .await
    );
    assert!(desk.take(&names[1]).await.is_some());
    assert!(desk.put_as("room", b"", SHORT_MS, When::Any, Some(5)).await);
    eventually("what is over takes no room", async || {
        desk.put_as("again", b"", LONG_MS, When::Any, Some(5)).await
    })
    .await;
}

pub(crate) async fn gives_a_record_to_one_who_takes_it(fixture: &impl Fixture) {
    let desk = Rc::new(desk(fixture, "taken"));
    desk.put("name", b"once").await;
    let takes = (0..20).map(|_| {
        let desk = Rc::clone(&desk);
        async move { desk.take("name").await }
    });
    let taken: Vec<_> = in_parallel(takes).await.into_iter().flatten().collect();
    assert_eq!(taken, [b"once"]);
    assert_eq!(desk.get("name").await, None);
}

pub(crate) async fn tells_what_was_put_after_a_number(fixture: &impl Fixture) {
    let desk = desk(fixture, "feed");
    assert_eq!(desk.list(0).await, (0, Vec::new()));
    assert_eq!(desk.list(17).await, (0, Vec::new()));
    desk.put("a", b"").await;
    let (first, names) = desk.list(0).await;
    assert_eq!(names, ["a"]);
    assert_eq!(desk.list(first).await, (first, Vec::new()));
    for name in ["b", "c", "a"] {
        desk.put(name, b"again").await;
    }
    let (last, names) = desk.list(first).await;
    assert_eq!(names, ["b", "c", "a"]);
    assert!(last >= first + 3);
    assert_eq!(desk.list(last - 1).await.1, ["a"]);
    // A number that it never gave: it has lost what came with it.
    assert_eq!(desk.list(last + 1000).await.1, ["b", "c", "a"]);
    // What is not put has no number.
    assert!(!desk.put_as("a", b"", LONG_MS, When::Absent, None).await);
    assert_eq!(desk.list(last).await, (last, Vec::new()));
}

pub(crate) async fn numbers_go_on_when_a_shelf_was_forgotten(fixture: &impl Fixture) {
    let desk = desk(fixture, "again");
    for name in ["a", "b", "c"] {
        assert!(desk.put_as(name, b"", SHORT_MS, When::Any, None).await);
    }
    let (seen, _) = desk.list(0).await;
    eventually("nothing is left", async || desk.list(0).await.1.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(SHORT_MS)).await;
    desk.put("new", b"").await;
    assert_eq!(desk.list(seen).await.1, ["new"]);
}
