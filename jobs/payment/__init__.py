"""Everything that moves money: the sweep, the live settler, pools, refunds, releases, people's repayments, effects."""
