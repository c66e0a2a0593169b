# What is installed, and the Debian package of it (./dev package). CPack asks dpkg-shlibdeps which packages the program's libraries are in.
include(GNUInstallDirs)
install(TARGETS fedalt RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES packaging/fedalt.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES packaging/fedalt.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME fedalt)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME fedalt)
set(CPACK_PACKAGE_CONTACT "The fedalt authors <fedalt@project.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Not seen by dpkg-shlibdeps, which is content with any BLAS: without this one, float32 products of Debian's libtorch are 40 times slower.
set(CPACK_DEBIAN_PACKAGE_DEPENDS libopenblas0-openmp)
# CPack puts the project's one-line description before it, and a space before each line.
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Each site keeps training its own LoRA adapter and reads the other sites
through a frozen rest-of-world adapter and a learned mixer (FedALT). One
native program; it needs a model directory and the site's data, no Python.")
include(CPack)
