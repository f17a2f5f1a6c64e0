//! The manifest as TOML. Edits only the keys whose values change, so foreign keys and comments stay.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value, value};

use super::{ColumnEntry, Intent, Manifest, StatesPolicy};
use crate::column::Column;
use crate::error::{CorruptItem, Error, Result};
use crate::format::hex::Hex;
use crate::slot::Slot;

const CONFIG_NAME: &str = "config_name";
const GENESIS_VALIDATORS_ROOT: &str = "genesis_validators_root";
const SLOTS_PER_ERA: &str = "slots_per_era";
const PRESET: &str = "preset";
const STATES: &str = "states";
const FIRST_SLOT: &str = "first_slot";
const UNPROVED_STATE: &str = "unproved_state";
const STATE_LAYERS: &str = "state_layers";
const STATE_BASES: &str = "state_bases";
const STATE_VALUES: &str = "state_values";
const REBUILT: &str = "rebuilt";
const COLUMNS: &str = "columns";
const HIGHEST: &str = "highest";
const PRUNED_BEFORE: &str = "pruned_before";
const INTENTS: &str = "intents";
const KIND: &str = "kind";
const SLOT: &str = "slot";
const PATH: &str = "path";

/// A TOML file with at least one of these keys is a manifest.
const KEYS: [&str; 13] = [
    CONFIG_NAME,
    GENESIS_VALIDATORS_ROOT,
    SLOTS_PER_ERA,
    PRESET,
    STATES,
    FIRST_SLOT,
    UNPROVED_STATE,
    STATE_LAYERS,
    STATE_BASES,
    STATE_VALUES,
    REBUILT,
    COLUMNS,
    INTENTS,
];

/// Advice for a truncated or overwritten manifest. Removing it is safe: it is nobody's data, and most of
/// it can be found again.
const REBUILD: &str = "remove it to rebuild it (the next import or write does; the states policy, \
                       earlier pruning and unfinished operations are lost)";

/// The last line of a file whose first line announces it. Without it, the file was truncated.
const END: &str = "# end";
const ANNOUNCES_END: &str = "Written by coldstore, with \"# end\" as the last line.";

const HEAD: &str = "# What this archive is known to hold: FORMAT.md, section 9. ";

/// The document of a new manifest.
pub(super) fn empty() -> DocumentMut {
    let mut document = DocumentMut::new();
    document.decor_mut().set_prefix(format!("{HEAD}{ANNOUNCES_END}\n"));
    document.set_trailing(format!("\n{END}\n"));
    document
}

/// The text of a document. Restores the last line, which may have been removed with the last table.
pub(super) fn render(document: &DocumentMut) -> String {
    let mut text = document.to_string();
    if is_cut(&text) {
        text += &format!("\n{END}\n");
    }
    text
}

fn is_cut(text: &str) -> bool {
    text.contains(ANNOUNCES_END) && !text.lines().any(|line| line.trim_end() == END)
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Manifest, DocumentMut)> {
    let corrupt = |offset: Option<usize>, found: String| {
        let offset = offset.map(|offset| offset as u64);
        Error::corrupt(path, offset, CorruptItem::Manifest, "the TOML of an archive.toml", found)
    };
    if bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
        let what = if bytes.is_empty() { "an empty file" } else { "a blank file" };
        return Err(corrupt(None, format!("{what}: {REBUILD}")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        corrupt(Some(error.valid_up_to()), format!("bytes that are not UTF-8: {REBUILD}"))
    })?;
    let document = text.parse::<DocumentMut>().map_err(|error| {
        let place = error.span().map(|span| span.start);
        let message = error.message().replace('\n', ", ");
        corrupt(place, format!("{message}: {REBUILD}"))
    })?;
    let is_cut = is_cut(text);
    if is_cut || document.as_table().is_empty() {
        let what = if is_cut { "no line \"# end\": it was cut" } else { "no key at all" };
        return Err(corrupt(Some(bytes.len()), format!("{what}: {REBUILD}")));
    }
    let table = Keys { path, table: document.as_table(), within: "" };
    if !KEYS.iter().any(|key| table.table.contains_key(key)) {
        let found = "none of its keys: the file belongs to other software; move it elsewhere";
        return Err(corrupt(None, found.to_owned()));
    }
    Ok((table.manifest()?, document))
}

/// Typed access to the keys of a table. A value of another type is an error.
struct Keys<'a> {
    path: &'a Path,
    table: &'a dyn TableLike,
    /// The path of the table, with a dot at its end.
    within: &'a str,
}

impl<'a> Keys<'a> {
    fn manifest(&self) -> Result<Manifest> {
        let mut manifest = Manifest {
            config_name: self.text(CONFIG_NAME)?.map(str::to_owned),
            genesis_validators_root: self.root(GENESIS_VALIDATORS_ROOT)?,
            slots_per_era: self.get(SLOTS_PER_ERA, "a number above 0", |item| {
                number_of(item.as_value()?).filter(|slots| *slots > 0)
            })?,
            preset: self.text(PRESET)?.map(str::to_owned),
            states: self.text(STATES)?.map(policy_of),
            first_slot: self.slot(FIRST_SLOT)?,
            unproved_state: self.slot(UNPROVED_STATE)?,
            state_layers: self
                .list(STATE_LAYERS, "texts", |layers| layers.as_str().map(str::to_owned))?,
            state_bases: self.list(STATE_BASES, "slots", |base| number_of(base).map(Slot))?,
            state_values: self.text(STATE_VALUES)?.map(str::to_owned),
            rebuilt: self.get(REBUILT, "true or false", Item::as_bool)?.unwrap_or(false),
            ..Manifest::default()
        };
        if let Some(columns) = self.get(COLUMNS, "a table", Item::as_table_like)? {
            let columns = Keys { table: columns, within: "columns.", ..*self };
            for column in Column::ALL {
                let name = column.dir_name();
                let Some(table) = columns.get(name, "a table", Item::as_table_like)? else {
                    continue;
                };
                let within = format!("columns.{name}.");
                let keys = Keys { path: self.path, table, within: &within };
                *manifest.column_mut(column) = ColumnEntry {
                    highest: keys.slot(HIGHEST)?,
                    pruned_before: keys.slot(PRUNED_BEFORE)?,
                };
            }
        }
        if let Some(tables) = self.get(INTENTS, "an array of tables", tables_of)? {
            for table in &tables {
                manifest.intents.push(self.intent(table)?);
            }
        }
        Ok(manifest)
    }

    fn intent(&self, table: &Table) -> Result<Intent> {
        let keys = Keys { path: self.path, table, within: "intents." };
        let kind = keys.text(KIND)?;
        let kind = kind.ok_or_else(|| keys.corrupt(KIND, "text", "nothing"))?;
        let columns = keys.list(COLUMNS, "names", |name| name.as_str().map(str::to_owned))?;
        let path = keys.text(PATH)?.map(str::to_owned);
        Ok(Intent { kind: kind.to_owned(), columns, slot: keys.slot(SLOT)?, path })
    }

    fn get<T>(
        &self,
        key: &str,
        wanted: &str,
        of: impl FnOnce(&'a Item) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(item) => match of(item) {
                Some(found) => Ok(Some(found)),
                None => Err(self.corrupt(key, wanted, item.to_string().trim())),
            },
        }
    }

    fn list<T>(&self, key: &str, of: &str, item: fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let items = self.get(key, &format!("an array of {of}"), |items| {
            items.as_array()?.iter().map(item).collect()
        })?;
        Ok(items.unwrap_or_default())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key, "text", Item::as_str)
    }

    fn slot(&self, key: &str) -> Result<Option<Slot>> {
        Ok(self.number(key)?.map(Slot))
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        self.get(key, "a number", |item| number_of(item.as_value()?))
    }

    fn root(&self, key: &str) -> Result<Option<[u8; 32]>> {
        self.get(key, "0x and 64 hex digits", |item| root_of(item.as_str()?))
    }

    fn corrupt(&self, key: &str, wanted: &str, found: &str) -> Error {
        let wanted = format!("{wanted} as {}{key}", self.within);
        let found = found.chars().take(100).collect::<String>().escape_debug().to_string();
        Error::corrupt(self.path, None, CorruptItem::Manifest, wanted, found)
    }
}

fn number_of(value: &Value) -> Option<u64> {
    match (value.as_integer(), value.as_str()) {
        (Some(number), _) => u64::try_from(number).ok(),
        // TOML integers end at 2^63 - 1; larger numbers are text.
        (None, text) => text?.parse().ok(),
    }
}

fn tables_of(item: &Item) -> Option<ArrayOfTables> {
    item.clone().into_array_of_tables().ok()
}

fn policy_of(text: &str) -> StatesPolicy {
    match (text, text.strip_prefix("every:").map(str::parse)) {
        ("all", _) => StatesPolicy::All,
        ("none", _) => StatesPolicy::None,
        ("layered", _) => StatesPolicy::Layered,
        (_, Some(Ok(eras))) => StatesPolicy::Every(eras),
        _ => StatesPolicy::Unknown,
    }
}

fn root_of(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut root = [0; 32];
    if digits.len() != 2 * root.len() {
        return None;
    }
    for (byte, pair) in root.iter_mut().zip(digits.as_chunks().0) {
        let [high, low] = *pair;
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(root)
}

/// Applies the differences between `before` and `after` to the document.
pub(super) fn apply(before: &Manifest, after: &Manifest, document: &mut DocumentMut) {
    let root = |root: [u8; 32]| Value::from(Hex(&root).to_string());
    let table = document.as_table_mut();
    let mut edit = |key: &str, of: &dyn Fn(&Manifest) -> Option<Value>| {
        set(table, key, of(before).as_ref(), of(after));
    };
    edit(CONFIG_NAME, &|manifest| manifest.config_name.clone().map(Value::from));
    edit(GENESIS_VALIDATORS_ROOT, &|manifest| manifest.genesis_validators_root.map(root));
    edit(SLOTS_PER_ERA, &|manifest| manifest.slots_per_era.map(number));
    edit(PRESET, &|manifest| manifest.preset.clone().map(Value::from));
    edit(STATES, &|manifest| manifest.states.map(|states| states.to_string().into()));
    edit(FIRST_SLOT, &|manifest| manifest.first_slot.map(slot));
    edit(UNPROVED_STATE, &|manifest| manifest.unproved_state.map(slot));
    edit(STATE_LAYERS, &|manifest| list(manifest.state_layers.iter().map(String::as_str)));
    edit(STATE_BASES, &|manifest| list(manifest.state_bases.iter().map(|base| slot(*base))));
    edit(STATE_VALUES, &|manifest| manifest.state_values.clone().map(Value::from));
    edit(REBUILT, &|manifest| manifest.rebuilt.then(|| Value::from(true)));
    let manifests = (before, after);
    for column in Column::ALL {
        let (before, after) = (before.column(column), after.column(column));
        if manifests.0.has_column(column) != manifests.1.has_column(column) || before != after {
            let table = column_table(table, column.dir_name());
            set(table, HIGHEST, before.highest.map(slot).as_ref(), after.highest.map(slot));
            let pruned = |entry: ColumnEntry| entry.pruned_before.map(slot);
            set(table, PRUNED_BEFORE, pruned(before).as_ref(), pruned(after));
        }
    }
    if before.intents != after.intents {
        set_intents(before, after, table);
    }
}

/// Encodes a list; `None` if it is empty.
fn list<V: Into<Value>>(items: impl Iterator<Item = V>) -> Option<Value> {
    let items: Array = items.collect();
    (!items.is_empty()).then(|| items.into())
}

/// Encodes a number: as text if a TOML integer cannot hold it.
fn number(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

fn slot(slot: Slot) -> Value {
    number(slot.0)
}

/// Sets a key. An unchanged value keeps its spelling, and a changed one the comment beside it.
fn set(table: &mut dyn TableLike, key: &str, before: Option<&Value>, after: Option<Value>) {
    if before.map(Value::to_string) == after.as_ref().map(Value::to_string) {
        return;
    }
    let Some(mut after) = after else {
        table.remove(key);
        return;
    };
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(found) => {
            *after.decor_mut() = found.decor().clone();
            *found = after;
        }
        None => {
            table.insert(key, value(after));
        }
    }
}

fn column_table<'t>(table: &'t mut Table, name: &str) -> &'t mut dyn TableLike {
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let columns = table.entry(COLUMNS).or_insert(Item::Table(implicit));
    let columns = columns.as_table_like_mut();
    let columns = columns.unwrap_or_else(|| unreachable!("it was read as a table"));
    let column = columns.entry(name).or_insert(Item::Table(Table::new()));
    column.as_table_like_mut().unwrap_or_else(|| unreachable!("it was read as a table"))
}

/// Replaces the list of intents. Intents that stay keep their tables, including unknown keys.
fn set_intents(before: &Manifest, after: &Manifest, table: &mut Table) {
    let mut known = table.get(INTENTS).and_then(tables_of).unwrap_or_default().into_iter();
    let mut tables = ArrayOfTables::new();
    let mut staying = after.intents.iter().peekable();
    for intent in &before.intents {
        let found = known.next();
        if let Some(found) = found.filter(|_| staying.next_if_eq(&intent).is_some()) {
            tables.push(found);
        }
    }
    for intent in staying {
        tables.push(table_of(intent));
    }
    if tables.is_empty() {
        table.remove(INTENTS);
    } else {
        table.insert(INTENTS, Item::ArrayOfTables(tables));
    }
}

fn table_of(intent: &Intent) -> Table {
    let mut table = Table::new();
    table.insert(KIND, value(intent.kind.as_str()));
    if let Some(columns) = list(intent.columns.iter().map(String::as_str)) {
        table.insert(COLUMNS, value(columns));
    }
    if let Some(at) = intent.slot {
        table.insert(SLOT, value(slot(at)));
    }
    if let Some(path) = &intent.path {
        table.insert(PATH, value(path.as_str()));
    }
    table
}
