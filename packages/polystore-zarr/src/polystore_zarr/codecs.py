"""placeholder of the lead; to be replaced by the measured version"""


def codec_options(compressor, *, zarr_format, dtype, checksum):
    if zarr_format == 2:
        return {"compressors": None}
    import zarr.codecs as c

    return {"compressors": [c.BloscCodec(cname="lz4", shuffle="bitshuffle"), c.Crc32cCodec()]}
