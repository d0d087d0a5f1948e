//! What was written to the fleet's tables, in its order and by whom: kept by triggers beside them, in the same transactions, so that
//! it is there exactly if what it tells of is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::house::House;

/// Writers stand one behind the other, so the numbers are in the order of their transactions.
const TABLES: &str = r"
CREATE SCHEMA witness;
CREATE TABLE witness.writes (number BIGSERIAL PRIMARY KEY, act BIGINT NOT NULL, who TEXT NOT NULL, at_s BIGINT NOT NULL,
    what TEXT NOT NULL, old JSONB, new JSONB NOT NULL);
CREATE FUNCTION witness.see() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    seen JSONB := to_jsonb(NEW) - 'envelope' - 'document' - 'request';
    payload BYTEA;
BEGIN
    IF TG_TABLE_NAME = 'desired' THEN
        payload := decode(convert_from(NEW.envelope, 'UTF8')::jsonb ->> 'payload', 'base64');
        seen := seen || jsonb_build_object('sha256', encode(sha256(payload), 'hex'),
            'signed', convert_from(payload, 'UTF8')::jsonb);
    ELSIF TG_TABLE_NAME = 'rollout_notices' THEN
        seen := seen || jsonb_build_object('notice', NEW.document::jsonb);
    END IF;
    INSERT INTO witness.writes (act, who, at_s, what, old, new) VALUES (txid_current(), session_user,
        floor(extract(epoch FROM clock_timestamp())), TG_TABLE_NAME,
        CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) - 'envelope' - 'document' - 'request' END, seen);
    RETURN NULL;
END $$;
";

/// The tables that are looked at.
const SEEN: [&str; 5] = ["leases", "desired", "rollouts", "rollout_devices", "rollout_notices"];

/// Who writes by the command line.
const COMMAND_LINE: &str = "postgres";

/// One row that was written.
#[derive(Debug, Deserialize)]
pub(crate) struct Write {
    /// The transaction.
    act: u64,
    /// The start of a server, or [`COMMAND_LINE`].
    pub(crate) who: String,
    at_s: i64,
    /// The table.
    pub(crate) what: String,
    old: Option<Value>,
    pub(crate) new: Value,
    /// The place of its transaction among all.
    #[serde(skip)]
    pub(crate) turn: usize,
}

/// Lets it look from now on.
pub(crate) fn watch(house: &House) {
    house.sql(TABLES);
    for table in SEEN {
        house.sql(&format!(
            "CREATE TRIGGER witness AFTER INSERT OR UPDATE ON fleet.{table} FOR EACH ROW EXECUTE FUNCTION witness.see()"
        ));
    }
}

/// Which start of a server took each lease last.
pub(crate) fn holders(house: &House) -> BTreeMap<String, String> {
    let rows = house.sql(
        "SELECT DISTINCT ON (new ->> 'name') (new ->> 'name') || ' ' || who FROM witness.writes WHERE what = 'leases' \
         ORDER BY new ->> 'name', number DESC",
    );
    rows.lines().filter_map(|row| row.split_once(' ')).map(|(lease, who)| (lease.to_owned(), who.to_owned())).collect()
}

/// All that was written.
pub(crate) fn writes(house: &House) -> Vec<Write> {
    let rows = house.sql("SELECT to_jsonb(w) FROM witness.writes w ORDER BY number");
    let mut writes: Vec<Write> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let mut turns = BTreeMap::new();
    let mut last = 0;
    for write in &mut writes {
        let next = turns.len();
        write.turn = *turns.entry(write.act).or_insert(next);
        assert!(write.turn >= last, "two wrote at the same time: {write:?}");
        last = write.turn;
    }
    writes
}

impl Write {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.new[field].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> u64 {
        self.new[field].as_u64().unwrap_or_default()
    }

    fn was(&self, field: &str) -> i64 {
        self.old.as_ref().and_then(|old| old[field].as_i64()).unwrap_or_default()
    }
}

/// A lease changes hands when its time is over, for a new term; and only who has that of the rollouts drives them. How often leases
/// changed hands.
pub(crate) fn one_leads_at_a_time(writes: &[Write]) -> usize {
    let (mut driver, mut changes) = (None, 0);
    for write in writes {
        match write.what.as_str() {
            "leases" => {
                let before = write.old.as_ref().map(|old| old["holder"].as_str().unwrap());
                if before != Some(write.text("holder")) {
                    assert!(write.was("until_s") <= write.at_s, "two lead: {write:?}");
                    assert_eq!(write.new["term"].as_i64().unwrap(), write.was("term") + 1, "{write:?}");
                    changes += 1;
                }
                if write.text("name") == "rollouts" {
                    driver = Some(write.who.as_str());
                }
            }
            _ if write.who == COMMAND_LINE => {}
            what => assert_eq!(Some(write.who.as_str()), driver, "somebody else writes `{what}`: {write:?}"),
        }
    }
    changes
}

/// Every state of a device has the version after the one before, whoever signed it; those of each device.
pub(crate) fn signed_once(writes: &[Write]) -> BTreeMap<String, Vec<&Write>> {
    let mut signed: BTreeMap<String, Vec<&Write>> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.what == "desired") {
        assert_eq!(write.new["version"].as_i64().unwrap(), write.was("version") + 1, "{write:?}");
        signed.entry(write.text("device").to_owned()).or_default().push(write);
    }
    signed
}
