# fathom_embed(TARGET NAMESPACE HEADER file...): files as text in a program. Each becomes a std::string_view in NAMESPACE,
# named k and its file's name (page.html: kPage); HEADER, seen from the project's root, declares them. The source is
# written into the build folder when a file changes. This file is also the script that writes it.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(fathom_embed_script ${CMAKE_CURRENT_LIST_FILE})
  function(fathom_embed target namespace header)
    set(source ${PROJECT_BINARY_DIR}/embedded/${namespace}.cc)
    list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE files)
    add_custom_command(
      OUTPUT ${source}
      COMMAND ${CMAKE_COMMAND} -D "files=${files}" -D namespace=${namespace} -D header=${header} -D out=${source}
              -P ${fathom_embed_script}
      DEPENDS ${files} ${fathom_embed_script}
      COMMENT "Embedding ${namespace}"
      VERBATIM)
    target_sources(${target} PRIVATE ${source})
  endfunction()
  return()
endif()

set(text "#include \"${header}\"\n\nnamespace fathom::${namespace} {\n\n")
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME_WE)
  string(SUBSTRING ${name} 0 1 first)
  string(SUBSTRING ${name} 1 -1 rest)
  string(TOUPPER ${first} first)
  file(READ ${file} content)
  string(FIND "${content}" ")embedded\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "${file} contains )embedded\", which ends the literal: write it otherwise")
  endif()
  string(APPEND text "const std::string_view k${first}${rest} = R\"embedded(${content})embedded\";\n\n")
endforeach()
string(APPEND text "}  // namespace fathom::${namespace}\n")
file(WRITE ${out} "${text}")
