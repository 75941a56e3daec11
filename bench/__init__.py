"""What treadle costs, measured: ``make bench``, or ``python -m bench --help``.

Every row runs in turn, within each round: treadle; the **bare loop**, which writes the very rows that this run of
treadle wrote, in the same batches, through the same store with nothing around it; and **bare asyncio**, the same graph
and step functions with no durability at all. So each figure stands beside two limits of the same machine and minute.
"""
