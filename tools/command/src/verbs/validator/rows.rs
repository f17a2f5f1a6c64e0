//! A validator's history as a table, CSV or JSON.

use coldstore::{Slot, View};
use coldstore_history::states::{FAR_FUTURE_EPOCH, StateView, Status, Validator, ValidatorAt};
use serde_json::{Value, json};

use crate::output::{self, Table};

/// A validator in the state of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) slot: u64,
    pub(super) epoch: u64,
    /// In Gwei.
    pub(super) balance: u64,
    /// In Gwei.
    pub(super) effective_balance: u64,
    pub(super) status: Status,
    /// The participation flags of the previous and of the current epoch; `None` before altair.
    pub(super) flags: Option<[u8; 2]>,
}

pub(super) const CSV_HEADING: &str =
    "slot,epoch,balance,effective_balance,status,previous_flags,current_flags";

impl Row {
    /// A validator in a state; `None` if the state does not have it yet.
    pub(super) fn of(state: &StateView<'_, View>, index: usize) -> Option<Self> {
        let slot = state.slot().0;
        let flags = state.participation(index..index + 1);
        Some(Self {
            slot,
            epoch: slot / state.preset().slots_per_epoch(),
            balance: state.balance(index)?,
            effective_balance: state.validator(index)?.effective_balance,
            status: state.status(index)?,
            flags: flags.map(|of| of.map(|flags| flags.first().copied().unwrap_or_default())),
        })
    }

    /// A validator in the state of an epoch's first slot.
    pub(super) fn at(slot: Slot, found: &ValidatorAt) -> Self {
        Self {
            slot: slot.0,
            epoch: found.epoch,
            balance: found.balance,
            effective_balance: found.validator.effective_balance,
            status: found.status(),
            flags: found.participation,
        }
    }

    pub(super) fn object(&self) -> Value {
        let Self { slot, epoch, balance, effective_balance, status, flags } = self;
        json!({
            "slot": slot,
            "epoch": epoch,
            "balance": balance,
            "effective_balance": effective_balance,
            "status": status.name(),
            "previous_flags": flags.map(|[previous, _]| u64::from(previous)),
            "current_flags": flags.map(|[_, current]| u64::from(current)),
        })
    }

    pub(super) fn csv(&self) -> String {
        let Self { slot, epoch, balance, effective_balance, status, flags } = self;
        let [previous, current] = match flags {
            Some(flags) => flags.map(|flags| flags.to_string()),
            None => [String::new(), String::new()],
        };
        format!("{slot},{epoch},{balance},{effective_balance},{status},{previous},{current}")
    }
}

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["epoch", "slot", "balance", "effective", "status", "previous", "current"]);
    for row in rows {
        let [previous, current] = match row.flags {
            Some(flags) => flags.map(letters),
            None => ["-", "-"].map(str::to_owned),
        };
        table.row(vec![
            row.epoch.to_string(),
            row.slot.to_string(),
            eth(row.balance),
            eth(row.effective_balance),
            row.status.to_string(),
            previous,
            current,
        ]);
    }
    table
}

/// The balances as bars between the lowest and the highest, with both.
pub(super) fn sparkline(rows: &[Row], width: usize) -> String {
    let balances: Vec<u64> = rows.iter().map(|row| row.balance).collect();
    let least = balances.iter().copied().min().unwrap_or(0);
    let most = balances.iter().copied().max().unwrap_or(0);
    let width = width.min(balances.len());
    // Each bar shows the average of its balances.
    let bar = |place: usize| {
        let start = |place: usize| place * balances.len() / width;
        let of_bar = &balances[start(place)..start(place + 1)];
        let sum: u128 = of_bar.iter().map(|balance| u128::from(balance - least)).sum();
        let average = sum / (of_bar.len() as u128).max(1);
        output::bar(u64::try_from(average).unwrap_or(u64::MAX), most - least)
    };
    let bars: String = (0..width).map(bar).collect();
    format!("{bars}  {} to {}", eth(least), eth(most))
}

/// The lines for one validator in one state.
pub(super) fn details(
    index: usize,
    validator: &Validator,
    row: &Row,
) -> Vec<(&'static str, String)> {
    let epoch = |epoch| match epoch {
        FAR_FUTURE_EPOCH => "not scheduled".to_owned(),
        epoch => epoch.to_string(),
    };
    let mut lines = vec![
        ("validator", index.to_string()),
        ("public key", const_hex::encode_prefixed(validator.pubkey)),
        ("state", format!("slot {}, epoch {}", row.slot, row.epoch)),
        ("status", row.status.to_string()),
        ("balance", eth(row.balance)),
        ("effective balance", eth(row.effective_balance)),
        ("slashed", if validator.slashed { "yes" } else { "no" }.to_owned()),
        ("withdrawal credentials", const_hex::encode_prefixed(validator.withdrawal_credentials)),
        ("eligible for activation", epoch(validator.activation_eligibility_epoch)),
        ("active from epoch", epoch(validator.activation_epoch)),
        ("exit", epoch(validator.exit_epoch)),
        ("withdrawable from", epoch(validator.withdrawable_epoch)),
    ];
    if let Some([previous, current]) = row.flags.map(|flags| flags.map(letters)) {
        lines
            .push(("participation", format!("previous epoch {previous}, current epoch {current}")));
    }
    lines
}

/// As the beacon API answers for a validator, with the state's slot and the participation flags.
pub(super) fn details_object(index: usize, validator: &Validator, row: &Row) -> Value {
    let mut object = row.object();
    object["index"] = json!(index as u64);
    object["validator"] = json!({
        "pubkey": const_hex::encode_prefixed(validator.pubkey),
        "withdrawal_credentials": const_hex::encode_prefixed(validator.withdrawal_credentials),
        "effective_balance": validator.effective_balance,
        "slashed": validator.slashed,
        "activation_eligibility_epoch": validator.activation_eligibility_epoch,
        "activation_epoch": validator.activation_epoch,
        "exit_epoch": validator.exit_epoch,
        "withdrawable_epoch": validator.withdrawable_epoch,
    });
    object
}

/// Gwei as ETH: "32.000123456"
fn eth(gwei: u64) -> String {
    const GWEI_PER_ETH: u64 = 1_000_000_000;
    format!("{}.{:09}", gwei / GWEI_PER_ETH, gwei % GWEI_PER_ETH)
}

/// Timely source, target and head as letters: "sth", "st-". Bits without a meaning are ignored.
fn letters(flags: u8) -> String {
    let letter = |(bit, letter): (u8, char)| if flags & 1 << bit == 0 { '-' } else { letter };
    [(0, 's'), (1, 't'), (2, 'h')].into_iter().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64, balance: u64) -> Row {
        Row {
            slot: epoch * 32,
            epoch,
            balance,
            effective_balance: 32_000_000_000,
            status: Status::ActiveOngoing,
            flags: Some([7, 3]),
        }
    }

    #[test]
    fn amounts_are_in_eth_and_flags_are_letters() {
        assert_eq!(eth(32_000_000_001), "32.000000001");
        assert_eq!(eth(5), "0.000000005");
        assert_eq!([0, 7, 5, 0xfa].map(letters), ["---", "sth", "s-h", "-t-"]);
    }

    #[test]
    fn a_row_has_the_same_values_in_every_form() {
        let row = row(2, 31_999_999_999);
        assert_eq!(row.csv(), "64,2,31999999999,32000000000,active_ongoing,7,3");
        assert_eq!(
            Row { flags: None, ..row }.csv(),
            "64,2,31999999999,32000000000,active_ongoing,,"
        );
        let mut text = Vec::new();
        table(&[row]).print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = "    2    64  31.999999999  32.000000000  active_ongoing  sth       st-";
        assert_eq!(text.lines().nth(1).unwrap(), line, "{text}");
        assert_eq!(row.object()["current_flags"], 3);
    }

    #[test]
    fn bars_reach_from_the_lowest_to_the_highest_balance() {
        let rows: Vec<Row> = [1, 2, 8].map(|eth| row(eth, eth * 1_000_000_000)).to_vec();
        assert_eq!(sparkline(&rows, 80), "▁▂█  1.000000000 to 8.000000000");
        assert_eq!(sparkline(&rows[..1], 80), "▁  1.000000000 to 1.000000000");
        let many: Vec<Row> = (0..100).map(|epoch| row(epoch, epoch)).collect();
        assert_eq!(sparkline(&many, 10).chars().position(|bar| bar == ' '), Some(10));
    }
}
