"""Makes chains for what single vectors do not reach in combination, with the specification's own transition.

Usage: chains.py OUT [NAME]... (a folder; needs eth-consensus-specs, see make)

Every scenario asserts that the state of the specification reached what the scenario is there for.
"""

import sys

from chain import ETH, FORKS, INFINITY_SIGNATURE, NEVER, Chain

# Which of `deposits_of_all_kinds` end as validators.
KINDS_ADDED = [True] * 4 + [False] * 5 + [True] * 4 + [False] * 2
NEW_OF_KINDS = 4

QUICK = {"SHARD_COMMITTEE_PERIOD": 1, "MIN_VALIDATOR_WITHDRAWABILITY_DELAY": 2}


def phase0_leak(out):
    """phase0: deposits of all kinds, slashings, a leak with empty slots over an epoch and an era, and the
    upgrade to altair in the middle of the leak."""
    chain = Chain(out, "phase0-leak", {"phase0": 0, "altair": 14}, QUICK, [32 * ETH] * 64)
    state = chain.state
    state.balances[7] = 5
    state.validators[8].effective_balance = 20 * ETH
    state.balances[8] = 17 * ETH
    deposits = chain.deposits_of_all_kinds()
    chain.deposits += deposits
    chain.see_deposits()
    # The state has them already: the first block needs them.
    state.eth1_data = chain.eth1_data
    chain.start()
    chain.blocks(2)
    assert chain.state.eth1_deposit_index == len(chain.deposits)
    assert [chain.has_key(data) for data in deposits] == KINDS_ADDED
    # The penalty of the second is more than its balance.
    chain.block(proposer_slashings=[chain.proposer_slashing(3), chain.proposer_slashing(7)])
    assert chain.state.balances[7] == 0
    chain.blocks_to_epoch(2)
    chain.block(voluntary_exits=[chain.exit(20), chain.exit(21), chain.exit(22)])
    chain.block(
        proposer_slashings=[chain.proposer_slashing(21)],
        attester_slashings=[chain.attester_slashing([5, 20, 30, 31], [20, 30, 40])],
    )
    slashed = [index for index in (5, 20, 21, 30, 31, 40) if chain.state.validators[index].slashed]
    assert slashed == [20, 21, 30]
    chain.blocks_to_epoch(3, delays=(1, 2, 5, 8))
    # Deposits that blocks vote for: the block whose vote decides needs them.
    chain.deposits += [chain.deposit_data(chain.next_key, 32 * ETH), chain.deposit_data(9, ETH)]
    chain.next_key += 1
    chain.see_deposits()
    half = lambda index: index % 2 == 0
    chain.blocks_to_epoch(4, attest=half)
    chain.blocks(5, attest=half, delays=(1, 2, 3))
    chain.blocks(3, attest=half, wrong="head")
    chain.blocks_to_epoch(6, attest=half, wrong="target")
    # The era ends with slot 63.
    chain.skip_to_epoch(8, back=4)
    chain.skip(7)
    chain.blocks_to_epoch(9, attest=half, delays=(1, 4, 8))
    assert chain.is_leaking()
    chain.blocks_to_epoch(10, attest=lambda index: index % 4 != 0)
    chain.skip_to_epoch(12)
    chain.blocks_to_epoch(13, attest=half, delays=(1, 3, 8))
    assert chain.is_leaking()
    # The fork begins with an empty slot; its first blocks have attestations from before it.
    chain.blocks_to_epoch(14, attest=half)
    chain.skip(2)
    assert chain.fork == "altair" and any(chain.state.previous_epoch_participation)
    chain.block(attest=half, delays=(3, 4, 5, 6, 7, 8), sync=half)
    chain.blocks_to_epoch(18, attest=half, delays=(1, 2), sync=lambda place: False)
    assert chain.is_leaking() and max(chain.state.inactivity_scores) > 0
    chain.blocks_to_epoch(23)
    assert not chain.is_leaking() and chain.own_sync_blocks > 0
    chain.finish()


def all_forks(out):
    """Every fork, three epochs each, with deposits on the way. Forks begin with a block, with an empty slot and
    after an empty epoch; attestations from before a fork are included after it."""
    epochs = {fork: 3 * place for place, fork in enumerate(FORKS)}
    chain = Chain(out, "all-forks", epochs, QUICK, [32 * ETH] * 64)
    chain.start()
    deposits = chain.deposits_of_all_kinds()
    chain.deposits += deposits[:7]
    chain.see_deposits()
    chain.blocks_to_epoch(3)
    chain.block(delays=(1, 2, 3, 8), sync=lambda place: place % 3 > 0)
    chain.blocks(3)
    chain.deposits += deposits[7:]
    chain.see_deposits()
    chain.blocks_to_epoch(6)
    # Bellatrix begins with two blocks without a payload, and the first slot is empty.
    chain.skip(2)
    bellatrix = chain.specs["bellatrix"]
    chain.block(delays=(3, 4, 8), execution_payload=bellatrix.ExecutionPayload())
    chain.block(execution_payload=bellatrix.ExecutionPayload())
    assert not bellatrix.is_merge_transition_complete(chain.state)
    chain.blocks(2, delays=(1, 2))
    chain.block(voluntary_exits=[chain.exit(50)], proposer_slashings=[chain.proposer_slashing(51)])
    assert bellatrix.is_merge_transition_complete(chain.state)
    chain.blocks_to_epoch(9, attest=lambda index: index % 5 > 0)
    chain.block(delays=(1, 2, 8))
    changes = [chain.address_change(index) for index in range(1, 40, 2)]
    chain.block(bls_to_execution_changes=changes[:16])
    chain.block(bls_to_execution_changes=changes[16:])
    chain.deposits += [chain.deposit_data(chain.next_key + at, 32 * ETH) for at in range(6)]
    chain.deposits += [chain.deposit_data(index, 5 * ETH) for index in (1, 2, 3)]
    chain.next_key += 6
    chain.see_deposits()
    chain.blocks_to_epoch(11)
    assert chain.state.next_withdrawal_index > 0
    # An empty epoch before deneb, which begins with an empty slot.
    chain.skip_to_epoch(12)
    chain.skip(1)
    chain.blocks_to_epoch(13, delays=(1, 2, 3))
    # Later than an epoch ago: only since deneb.
    chain.block(delays=(1, 7, 9, 10, 14))
    # Deposits whose credentials compound already, and validators that electra finds before activation.
    compounding = b"\x02" + bytes(11) + b"\xcc" * 20
    chain.deposits += [chain.deposit_data(chain.next_key + at, (40 + at) * ETH, compounding) for at in range(3)]
    chain.next_key += 3
    chain.see_deposits()
    chain.blocks_to_epoch(15)
    waiting = [v for v in chain.state.validators if v.activation_epoch == NEVER]
    compounders = [
        index for index, v in enumerate(chain.state.validators)
        if v.withdrawal_credentials[0] == 2 and chain.state.balances[index] > 32 * ETH
    ]
    assert waiting and compounders
    chain.block(delays=(1, 2, 8))
    assert chain.fork == "electra" and len(chain.state.pending_deposits) >= len(waiting)
    assert any(deposit.signature == INFINITY_SIGNATURE for deposit in chain.state.pending_deposits)
    # The deposit contract has more than the state when the first request comes.
    behind = [chain.deposit_data(chain.next_key + at, 32 * ETH) for at in range(2)]
    chain.deposits += behind
    chain.next_key += 2
    start = len(chain.deposits)
    requests = [chain.request_of(data, start + at) for at, data in enumerate(chain.deposits_of_all_kinds())]
    chain.block(deposit_requests=requests[:5])
    assert chain.state.deposit_requests_start_index == start
    chain.see_deposits()
    chain.block(deposit_requests=requests[5:])
    chain.blocks(1, delays=(2, 3))
    # The vote that decides comes in the next period.
    chain.blocks_to_epoch(17, attest=lambda index: index % 7 > 0)
    assert any(deposit.slot > 0 for deposit in chain.state.pending_deposits)
    assert chain.state.eth1_deposit_index < start
    chain.blocks_to_epoch(20, delays=(1,))
    assert chain.fork == "fulu"
    chain.blocks_to_epoch(22)
    chain.finish()


def electra_queues(out):
    """electra: both queues of requests up to their limits, a slashed source and a slashed target, switches to
    compounding, deposits for exiting and withdrawn validators, a leak; then fulu."""
    # All consolidations are made before the first is due.
    values = {**QUICK, "MIN_VALIDATOR_WITHDRAWABILITY_DELAY": 6, "MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA": 256 * ETH}
    chain = Chain(out, "electra-queues", {"electra": 0, "fulu": 34}, values, [32 * ETH] * 140)
    state = chain.state
    chain.set_credentials(b"\x01", range(20, 120))
    chain.set_credentials(b"\x02", range(0, 20))
    for index in range(0, 20):
        state.balances[index] = (100 + index) * ETH
        state.validators[index].effective_balance = (100 + index) * ETH
    for index in range(20, 120):
        # More than what counts moves when they are consolidated.
        state.balances[index] = 32 * ETH + 5000 * index
    state.eth1_deposit_index = len(chain.deposits)
    chain.start()
    chain.blocks_to_epoch(1)
    # Switches with an excess and without; of one with BLS credentials; of another's address.
    assert chain.state.balances[110] > 32 * ETH
    switches = [chain.consolidation_request(index, index) for index in (110, 19, 130, 111)]
    switches[3].source_address = b"\x99" * 20
    chain.block(consolidation_requests=switches[:2])
    chain.block(consolidation_requests=switches[2:])
    assert [chain.state.validators[index].withdrawal_credentials[0] for index in (110, 130, 111)] == [2, 0, 1]
    assert list(chain.state.pending_deposits)[-1].signature == INFINITY_SIGNATURE
    chain.blocks_to_epoch(2)
    requests = [chain.request_of(data, 140 + at) for at, data in enumerate(chain.deposits_of_all_kinds())]
    chain.block(deposit_requests=requests)
    limit = chain.spec.PENDING_PARTIAL_WITHDRAWALS_LIMIT
    # 16 in a block, until the queue is full.
    for part in range(4):
        amounts = [ETH + part * 16 + at for at in range(16)]
        requests = [chain.withdrawal_request(at % 10, amount) for at, amount in enumerate(amounts)]
        chain.block(withdrawal_requests=requests)
    assert len(chain.state.pending_partial_withdrawals) == limit
    chain.block(withdrawal_requests=[
        chain.withdrawal_request(11, ETH),  # full
        chain.withdrawal_request(1, 0),  # has a pending withdrawal
        chain.withdrawal_request(12, 0),  # an exit is still possible
        chain.withdrawal_request(130, 0),  # no address
        chain.withdrawal_request(25, ETH),  # not compounding
    ])
    assert len(chain.state.pending_partial_withdrawals) == limit
    assert chain.state.validators[12].exit_epoch < NEVER and chain.state.validators[1].exit_epoch == NEVER
    sources = iter(range(20, 110))
    while len(chain.state.pending_consolidations) < chain.spec.PENDING_CONSOLIDATIONS_LIMIT:
        pair = [next(sources), next(sources)]
        requests = [chain.consolidation_request(pair[0], 13), chain.consolidation_request(pair[1], 14)]
        chain.block(consolidation_requests=requests)
        if pair[0] == 40:
            chain.block(proposer_slashings=[chain.proposer_slashing(20), chain.proposer_slashing(25)])
    assert chain.state.validators[20].slashed
    chain.block(consolidation_requests=[chain.consolidation_request(109, 13)])
    # A target that exits keeps its consolidations.
    chain.block(withdrawal_requests=[chain.withdrawal_request(14, 0)], voluntary_exits=[chain.exit(121)])
    assert chain.state.validators[14].exit_epoch < NEVER
    assert chain.state.validators[109].exit_epoch == NEVER
    # For an exiting validator, and later for withdrawn ones.
    late = [chain.deposit_data(index, ETH) for index in (121, 12)]
    chain.block(deposit_requests=[chain.request_of(data, 2000 + at) for at, data in enumerate(late)])
    chain.blocks_to_epoch(10)
    half = lambda index: index % 2 == 0
    chain.block(deposit_requests=[
        chain.request_of(chain.deposit_data(chain.next_key + at, 32 * ETH), 3000 + at) for at in range(24)])
    chain.next_key += 24
    chain.blocks_to_epoch(18, attest=half, sync=half)
    assert chain.is_leaking() and len(chain.state.pending_deposits) >= 24
    chain.block(deposit_requests=[chain.request_of(data, 4000 + at) for at, data in enumerate(late)])
    chain.skip_to_epoch(20, back=3)
    chain.blocks_to_epoch(26)
    assert not chain.is_leaking()
    chain.blocks_to_epoch(33)
    # The fork falls into empty slots.
    chain.skip_to_epoch(34)
    chain.skip(6)
    assert chain.fork == "fulu"
    chain.block(delays=(1, 7), withdrawal_requests=[chain.withdrawal_request(15, 3 * ETH)])
    chain.blocks_to_epoch(37)
    assert len(chain.state.validators) == 140 + NEW_OF_KINDS + 24
    assert chain.own_sync_blocks > 0
    chain.finish()


def fulu_leak(out):
    """fulu: a leak, slots empty over an era, proposers slashed after they were drawn, penalties of slashings,
    deposits of all kinds, balances that end at 0, ejections."""
    values = {**QUICK, "EJECTION_BALANCE": 31 * ETH, "INACTIVITY_SCORE_BIAS": 4}
    chain = Chain(out, "fulu-leak", {"fulu": 0}, values, [32 * ETH] * 64)
    state = chain.state
    chain.set_credentials(b"\x01", range(10, 40))
    chain.set_credentials(b"\x02", range(40, 50))
    for index in range(52, 64):
        state.balances[index] = index % 3
    state.balances[45] = state.validators[45].effective_balance = 2048 * ETH
    state.balances[45] += 3
    chain.start()
    requests = [chain.request_of(data, at) for at, data in enumerate(chain.deposits_of_all_kinds())]
    small = [chain.deposit_data(chain.next_key + at, ETH * (at + 1)) for at in range(20)]
    more = [chain.request_of(data, 50 + at) for at, data in enumerate(small)]
    chain.next_key += 20
    chain.block(deposit_requests=requests + more)
    # Those outside of the sync committee's votes have less than their penalty.
    chain.blocks_to_epoch(1, sync=lambda place: place % 3 == 0)
    assert 0 in list(chain.state.balances)
    chain.blocks_to_epoch(2)
    # Two that propose later.
    later = [int(index) for index in chain.state.proposer_lookahead[10:13]]
    later = list(dict.fromkeys(later))
    chain.block(proposer_slashings=[chain.proposer_slashing(index) for index in later])
    slashed = len(chain.empty_slots)
    chain.blocks_to_epoch(5)
    assert len(chain.empty_slots) > slashed
    chain.block(attester_slashings=[chain.attester_slashing([30, 31, 32], [31, 32, 33])])
    third = lambda index: index % 3 == 0
    chain.blocks_to_epoch(10, attest=third, sync=third)
    # Longer than an era.
    chain.skip_to_epoch(19, back=3)
    assert chain.is_leaking()
    chain.blocks_to_epoch(21, attest=third, delays=(1, 2, 9), sync=third)
    chain.skip_to_epoch(36)
    assert any(v.exit_epoch < NEVER and not v.slashed for v in chain.state.validators)
    chain.blocks_to_epoch(44)
    assert not chain.is_leaking() and chain.own_sync_blocks > 0
    chain.finish()


def main():
    out = sys.argv[1]
    chosen = sys.argv[2:]
    for make in (phase0_leak, all_forks, electra_queues, fulu_leak):
        if not chosen or make.__name__ in chosen:
            make(out)


if __name__ == "__main__":
    main()
