from itertools import islice

from alloysort.demo_stream import open_stream


def test_the_stream_gives_pieces_and_the_instruments_behind_them():
    pieces, instruments = open_stream()
    for piece in islice(pieces, 3):
        assert piece.family is not None
        assert piece.instrument is None or piece.instrument in instruments
