# A file as bytes of C: cmake -DFILE=page.html -DOUT=page_bytes.h -DNAME=page_bytes -P UmbraEmbed.cmake
file(READ ${FILE} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "static const unsigned char ${NAME}[] = {\n${bytes}};\n")
