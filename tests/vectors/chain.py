"""A chain made by the transition of the specification, slot by slot.

It is a folder: `config.yaml`; `roots.ssz`, the state root of every slot from that of the first state on;
`block_SLOT.ssz`, the blocks; `state_SLOT.ssz`, the state after that slot, of the first slot, of every eighth
and of the last. Blocks are not signed, except for deposits: their proofs of possession are real.
"""

import os
from importlib import import_module

from eth_consensus_specs.test.helpers.attestations import (
    build_attestation_data,
    get_valid_attestations_at_slot,
)
from eth_consensus_specs.test.helpers.block import build_empty_block
from eth_consensus_specs.test.helpers.deposits import deposit_from_context, sign_deposit_data
from eth_consensus_specs.test.helpers.fulu.state import initialize_proposer_lookahead
from eth_consensus_specs.test.helpers.genesis import create_genesis_state
from eth_consensus_specs.test.helpers.keys import privkeys, pubkeys
from eth_consensus_specs.utils import bls

FORKS = ["phase0", "altair", "bellatrix", "capella", "deneb", "electra", "fulu"]
NEVER = 2**64 - 1
ETH = 10**9
SLOTS = 8
INFINITY_KEY = b"\xc0" + bytes(47)
# No point of the curve has x = 1. Those with x = 0 are not in the subgroup.
OFF_CURVE_KEY = b"\x80" + bytes(46) + b"\x01"
OFF_SUBGROUP_KEY = b"\x80" + bytes(47)
INFINITY_SIGNATURE = b"\xc0" + bytes(95)

# The configs of the package, by fork.
CONFIGS = {}

bls.bls_active = False


def with_real_bls(function):
    def call(*arguments, **names):
        bls.bls_active = True
        try:
            return function(*arguments, **names)
        finally:
            bls.bls_active = False

    return call


def load_specs(values, schedule):
    """The specification of every fork, with a config of its own."""
    epochs = {f"{fork.upper()}_FORK_EPOCH": epoch for fork, epoch in schedule.items()}
    specs = {}
    for fork in FORKS:
        spec = import_module(f"eth_consensus_specs.{fork}.minimal")
        if fork not in CONFIGS:
            CONFIGS[fork] = spec.config
            has_check = hasattr(spec, "is_valid_deposit_signature")
            name = "is_valid_deposit_signature" if has_check else "apply_deposit"
            setattr(spec, name, with_real_bls(getattr(spec, name)))
        known, config = {**values, **epochs}, CONFIGS[fork]
        changed = [key for key in config._fields if key in known]
        spec.config = config._replace(
            **{key: type(getattr(config, key))(known[key]) for key in changed}
        )
        specs[fork] = spec
    return specs


class Chain:
    def __init__(self, out, name, schedule, values, balances):
        """`schedule`: the first epochs of forks; that of the first is 0."""
        self.folder = os.path.join(out, name)
        os.makedirs(self.folder)
        schedule = {fork: schedule.get(fork, NEVER) for fork in FORKS}
        first = max((fork for fork in FORKS if schedule[fork] == 0), key=FORKS.index)
        for fork in FORKS[: FORKS.index(first)]:
            schedule[fork] = 0
        self.schedule, self.fork = schedule, first
        self.specs = load_specs(values, schedule)
        self.write_config(values)
        self.state = create_genesis_state(self.spec, balances, self.spec.MAX_EFFECTIVE_BALANCE)
        # What the deposit contract holds, and what blocks vote for.
        self.deposits = [
            self.spec.DepositData(pubkey=pubkeys[index]) for index in range(len(balances))
        ]
        self.next_key = len(balances)
        self.roots, self.empty_slots, self.own_sync_blocks = [], [], 0
        self.see_deposits()
        self.state.eth1_data = self.eth1_data

    @property
    def spec(self):
        return self.specs[self.fork]

    @property
    def epoch(self):
        return int(self.state.slot) // SLOTS

    def write(self, name, value):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(value)

    def write_config(self, values):
        lines = ["CONFIG_NAME: chains", "PRESET_BASE: minimal", "GENESIS_FORK_VERSION: 0x00000001"]
        for place, fork in enumerate(FORKS[1:], 1):
            lines.append(f"{fork.upper()}_FORK_VERSION: 0x{place:02x}000001")
            lines.append(f"{fork.upper()}_FORK_EPOCH: {self.schedule[fork]}")
        lines += [f"{key}: {value}" for key, value in values.items()]
        self.write("config.yaml", "\n".join(lines + [""]).encode())

    def start(self):
        """The state as it is becomes the chain's first."""
        self.state.genesis_validators_root = self.spec.hash_tree_root(self.state.validators)
        if hasattr(self.state, "proposer_lookahead"):
            self.state.proposer_lookahead = initialize_proposer_lookahead(self.spec, self.state)
        self.keep(True)

    def keep(self, whole=False):
        slot = int(self.state.slot)
        self.roots.append(bytes(self.state.hash_tree_root()))
        if whole or slot % SLOTS == 7:
            self.write(f"state_{slot:06}.ssz", self.state.encode_bytes())

    def finish(self):
        self.write(f"state_{int(self.state.slot):06}.ssz", self.state.encode_bytes())
        self.write("roots.ssz", b"".join(self.roots))
        print(
            f"{os.path.basename(self.folder)}: {len(self.roots)} slots, {len(self.empty_slots)} empty,"
            f" {len(self.state.validators)} validators",
            flush=True,
        )

    # Slots and blocks

    def advance(self):
        self.spec.process_slots(self.state, self.state.slot + 1)
        if self.state.slot % SLOTS == 0:
            for fork in FORKS[FORKS.index(self.fork) + 1 :]:
                if self.schedule[fork] == self.epoch:
                    self.fork = fork
                    self.state = getattr(self.spec, f"upgrade_to_{fork}")(self.state)

    def skip(self, count=1):
        for _ in range(count):
            self.advance()
            self.empty_slots.append(int(self.state.slot))
            self.keep()

    def skip_to_epoch(self, epoch, back=0):
        """Leaves all slots before the epoch empty, except for the last `back`."""
        self.skip(epoch * SLOTS - back - int(self.state.slot) - 1)

    def block(
        self,
        attest=lambda index: True,
        delays=(1,),
        wrong=None,
        sync=lambda place: True,
        **operations,
    ):
        """A block in the next slot, which stays empty if the proposer is slashed.

        Attestations: `attest` chooses the validators, `delays` the slots, counted back; `wrong` is "head" or
        "target". `sync` chooses the places of the sync committee that sign.
        """
        self.advance()
        spec, state = self.spec, self.state
        proposer = spec.get_beacon_proposer_index(state)
        if state.validators[proposer].slashed:
            self.empty_slots.append(int(state.slot))
            self.keep()
            return None
        block = build_empty_block(spec, state)
        body = block.body
        body.randao_reveal = int(state.slot).to_bytes(96, "little")
        body.eth1_data = self.eth1_data
        for delay in delays:
            if state.slot >= delay:
                body.attestations += self.attestations(state.slot - delay, attest, wrong)
        if hasattr(body, "sync_aggregate"):
            members = list(state.current_sync_committee.pubkeys)
            bits = [sync(place) for place in range(len(members))]
            body.sync_aggregate.sync_committee_bits = bits
            own = state.validators[proposer].pubkey
            self.own_sync_blocks += any(bit and member == own for bit, member in zip(bits, members))
        for name, value in operations.items():
            if name in ("deposit_requests", "withdrawal_requests", "consolidation_requests"):
                setattr(body.execution_requests, name.replace("_request", ""), value)
            else:
                setattr(body, name, value)
        if self.fork != "fulu":
            body.deposits = self.proofs_of_deposits(body)
        spec.process_block(state, block)
        block.state_root = state.hash_tree_root()
        signed = spec.SignedBeaconBlock(message=block)
        self.write(f"block_{int(state.slot):06}.ssz", signed.encode_bytes())
        self.keep()
        return block

    def blocks(self, count, **names):
        for _ in range(count):
            self.block(**names)

    def blocks_to_epoch(self, epoch, **names):
        """Blocks up to the last slot before the epoch."""
        self.blocks(epoch * SLOTS - int(self.state.slot) - 1, **names)

    def attestations(self, slot, attest, wrong=None):
        spec, state = self.spec, self.state
        if slot // SLOTS + 1 < self.epoch:
            return []
        wrong_head = b"\x77" * 32 if wrong == "head" else None
        made = get_valid_attestations_at_slot(
            state,
            spec,
            slot,
            lambda _slot, _index, committee: {index for index in committee if attest(int(index))},
            beacon_block_root=wrong_head,
        )
        if wrong == "target":
            for attestation in made:
                attestation.data.target.root = b"\x66" * 32
        if made and self.fork in ("electra", "fulu"):
            made = [spec.compute_on_chain_aggregate(made)]
        return made

    # Operations

    def deposit_data(self, index, amount, credentials=None, flaw=None, key=None):
        """`index`: of the key. `flaw`: what is wrong with the proof of possession."""
        spec = self.spec
        pubkey = pubkeys[index] if key is None else key
        credentials = credentials or b"\x00" + spec.hash(pubkey)[1:]
        data = spec.DepositData(pubkey=pubkey, withdrawal_credentials=credentials, amount=amount)
        # In every fork the domain is that of genesis, not that of the fork.
        version = spec.Version("0x06000001") if flaw == "domain" else None
        with_real_bls(sign_deposit_data)(spec, data, privkeys[index], version)
        if flaw == "signature":
            data.amount += 1
        elif flaw == "infinity":
            data.signature = INFINITY_SIGNATURE
        elif flaw == "garbage":
            data.signature = b"\x42" * 96
        return data

    def deposits_of_all_kinds(self):
        """Deposits with every flaw, and keys that come more than once."""
        first = self.next_key
        self.next_key += 8
        to_address = b"\x01" + bytes(11) + b"\xaa" * 20
        to_compounding = b"\x02" + bytes(11) + b"\xbb" * 20
        return [
            self.deposit_data(first, 32 * ETH),
            self.deposit_data(first, 2 * ETH, to_address, "garbage"),
            self.deposit_data(first + 1, 32 * ETH, flaw="signature"),
            self.deposit_data(first + 1, 31 * ETH, to_address),
            self.deposit_data(first + 2, 32 * ETH, flaw="domain"),
            self.deposit_data(first + 3, 32 * ETH, flaw="infinity"),
            self.deposit_data(first + 4, 32 * ETH, key=INFINITY_KEY, flaw="infinity"),
            self.deposit_data(first + 4, 32 * ETH, key=OFF_CURVE_KEY),
            self.deposit_data(first + 4, 32 * ETH, key=OFF_SUBGROUP_KEY),
            self.deposit_data(first + 5, 40 * ETH, to_compounding),
            self.deposit_data(first + 6, ETH // 2, to_address),
            self.deposit_data(first + 6, 40 * ETH, to_compounding, "garbage"),
            self.deposit_data(0, 3 * ETH, to_address, "infinity"),
            self.deposit_data(first + 7, 32 * ETH, flaw="garbage"),
            self.deposit_data(first + 7, 32 * ETH, flaw="infinity"),
        ]

    def see_deposits(self):
        """From now on, blocks vote for all deposits that the contract holds."""
        _, root, _ = deposit_from_context(self.spec, self.deposits, 0)
        count = len(self.deposits)
        self.eth1_data = self.spec.Eth1Data(
            deposit_root=root, deposit_count=count, block_hash=count.to_bytes(32, "big")
        )

    def proofs_of_deposits(self, body):
        """The deposits that a block needs; the block's own vote counts already."""
        spec, state = self.spec, self.state
        data, votes = state.eth1_data, list(state.eth1_data_votes) + [body.eth1_data]
        if votes.count(body.eth1_data) * 2 > spec.EPOCHS_PER_ETH1_VOTING_PERIOD * SLOTS:
            data = body.eth1_data
        end = int(data.deposit_count)
        if self.fork == "electra":
            end = min(end, int(state.deposit_requests_start_index))
        start = int(state.eth1_deposit_index)
        known = self.deposits[: int(data.deposit_count)]
        indices = range(start, min(end, start + spec.MAX_DEPOSITS))
        return [deposit_from_context(spec, known, index)[0] for index in indices]

    def request_of(self, data, index):
        fields = ("pubkey", "withdrawal_credentials", "amount", "signature")
        return self.spec.DepositRequest(**{name: getattr(data, name) for name in fields}, index=index)

    def withdrawal_request(self, index, amount):
        validator = self.state.validators[index]
        return self.spec.WithdrawalRequest(
            source_address=validator.withdrawal_credentials[12:],
            validator_pubkey=validator.pubkey,
            amount=amount,
        )

    def consolidation_request(self, source, target):
        validators = self.state.validators
        return self.spec.ConsolidationRequest(
            source_address=validators[source].withdrawal_credentials[12:],
            source_pubkey=validators[source].pubkey,
            target_pubkey=validators[target].pubkey,
        )

    def proposer_slashing(self, index):
        spec = self.spec
        headers = [
            spec.BeaconBlockHeader(slot=self.state.slot, proposer_index=index, body_root=root * 32)
            for root in (b"\x01", b"\x02")
        ]
        signed = [spec.SignedBeaconBlockHeader(message=header) for header in headers]
        return spec.ProposerSlashing(signed_header_1=signed[0], signed_header_2=signed[1])

    def attester_slashing(self, first, second):
        """Of the validators in both lists."""
        spec, state = self.spec, self.state
        data = build_attestation_data(spec, state, state.slot, 0)
        other = data.copy()
        other.beacon_block_root = b"\x01" * 32
        indexed = [
            spec.IndexedAttestation(attesting_indices=sorted(indices), data=data)
            for indices, data in ((first, data), (second, other))
        ]
        return spec.AttesterSlashing(attestation_1=indexed[0], attestation_2=indexed[1])

    def exit(self, index):
        message = self.spec.VoluntaryExit(epoch=self.epoch, validator_index=index)
        return self.spec.SignedVoluntaryExit(message=message)

    def address_change(self, index):
        # `build_mock_validator` takes this key for its credentials.
        key = pubkeys[(32 * 256 - 1 - index) % len(pubkeys)]
        message = self.spec.BLSToExecutionChange(
            validator_index=index, from_bls_pubkey=key, to_execution_address=index.to_bytes(20, "big")
        )
        return self.spec.SignedBLSToExecutionChange(message=message)

    def set_credentials(self, prefix, indices):
        for index in indices:
            address = (0x1000 + index).to_bytes(20, "big")
            self.state.validators[index].withdrawal_credentials = prefix + bytes(11) + address

    def is_leaking(self):
        return bool(self.spec.is_in_inactivity_leak(self.state))

    def has_key(self, data):
        return data.pubkey in [validator.pubkey for validator in self.state.validators]
